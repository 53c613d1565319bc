"""What a plan begins with, before the rest is planned: the same that the whole plan begins with, and no more."""

import errno

import pytest

from pyruntime.base.decode import decode
from pyruntime.execute.encoding import CONTINUES, encode_plan
from pyruntime.execute.hints import hint_for
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import plan_create, plan_create_front, plan_exec, plan_exec_front
from pyruntime.plan.operations import Clone, CloseInherited, RaiseLoopback, SetUmask, Unshare
from pyruntime.plan.options import LaunchOptions
from pyruntime.plan.view import NAMESPACE_FLAGS
from pyruntime.spec.config import Config, Process
from pyruntime.spec.default import default_config

NETWORK, USER, MOUNT, UTS, IPC = (
    NAMESPACE_FLAGS[name] for name in ("network", "user", "mount", "uts", "ipc")
)
LAYOUT = CgroupLayout(mode="none", hierarchies=())


def config_with(*namespaces: dict[str, str]) -> Config:
    document = default_config(rootless=False, uid=0, gid=0)
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    document["linux"] = {"namespaces": list(namespaces), "uidMappings": mapping, "gidMappings": mapping}
    return decode(Config, document)


@pytest.mark.parametrize(
    ("namespaces", "rootless", "early"),
    [
        (["network", "mount", "pid", "uts", "ipc"], False, NETWORK | MOUNT | UTS | IPC),
        (["pid"], False, 0),
        (["network:/proc/1/ns/net", "mount"], False, MOUNT),
        (["network", "ipc:/proc/1/ns/ipc", "mount"], False, NETWORK | MOUNT),
        (["network", "user", "mount"], False, 0),
        (["network", "user:/proc/1/ns/user", "mount"], False, 0),
        (["network", "mount"], True, 0),
    ],
)
def test_only_namespaces_that_nobody_else_owns_are_made_early(
    namespaces: list[str], rootless: bool, early: int
) -> None:
    entries = [dict(zip(("type", "path"), name.split(":"), strict=False)) for name in namespaces]
    config, facts, options = (
        config_with(*entries),
        HostFacts(user_id=1000 if rootless else 0),
        LaunchOptions(),
    )
    front = plan_create_front(config, facts, options)
    plan = plan_create(config, "box", "/bundle", facts, LAYOUT, options)
    assert plan.operations[: len(front)] == front
    assert sum(each.flags for each in front if isinstance(each, Unshare)) == early
    made = [each.flags for each in plan.operations if isinstance(each, Unshare | Clone)]
    wanted = sum(NAMESPACE_FLAGS[name] for name in namespaces if ":" not in name)
    assert sum(made) == wanted, "each once"
    assert all(isinstance(each, CloseInherited | SetUmask | Unshare | RaiseLoopback) for each in front)
    raised = [each for each in plan.operations if isinstance(each, RaiseLoopback)]
    assert len(raised) == namespaces.count("network")


def test_a_front_that_was_asked_for_is_taken_as_it_is() -> None:
    """The executor knows it by identity."""
    config, facts, options = config_with({"type": "network"}, {"type": "mount"}), HostFacts(), LaunchOptions()
    front = plan_create_front(config, facts, options)
    whole = plan_create(config, "box", "/bundle", facts, LAYOUT, options, front).operations
    assert all(mine is yours for mine, yours in zip(front, whole, strict=False))
    process, cgroup = Process(args=("true",), cwd="/"), CgroupPlan(join_files=("/sys/fs/cgroup/box/tasks",))
    front = plan_exec_front(process, USER, facts, cgroup, options)
    whole = plan_exec(config, process, "box", USER, facts, cgroup, options, front).operations
    assert all(mine is yours for mine, yours in zip(front, whole, strict=False))
    assert whole == plan_exec(config, process, "box", USER, facts, cgroup, options).operations


def test_steps_go_on_counting_in_the_second_piece() -> None:
    first = encode_plan((SetUmask(mask=0),), continues=True)
    second = encode_plan((SetUmask(mask=0),), first_step=2)
    assert (first[12], second[12]) == (CONTINUES, 0)
    assert (first[28], second[28]) == (1, 2)


def test_what_the_kernel_says_of_an_early_namespace_has_the_hint_of_the_clone() -> None:
    for number in (errno.EPERM, errno.ENOSPC):
        assert hint_for(Unshare(flags=NETWORK), number) == hint_for(Clone(flags=0), number) != ""
    assert "user namespaces" in hint_for(Unshare(flags=USER), errno.EPERM)
