"""What is planned for cgroups, on a machine that only these texts describe."""

from typing import Any

import pytest

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError
from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.plan.cgroup import CgroupPlan, plan_cgroup
from pyruntime.plan.cgroup.cpu import weight_of_shares
from pyruntime.plan.cgroup.delegation import cgroup_owner, domain_limit
from pyruntime.plan.cgroup.devices import device_program, device_rules
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.cgroup.operations import OwnCgroup, WriteCgroupFile, WriteMemoryLimits
from pyruntime.spec.config import Config
from pyruntime.spec.linux import Resources

V1 = parse_cgroup_layout(
    "30 20 0:26 / /cg/memory rw - cgroup cgroup rw,memory\n"
    "31 20 0:27 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 20 0:28 / /cg/devices rw - cgroup cgroup rw,devices\n"
    "33 20 0:29 / /cg/my\\040pids rw - cgroup cgroup rw,pids\n",
    "4:memory:/own\n3:cpu,cpuacct:/\n2:devices:/own\n1:pids:/own\n",
)
V2 = parse_cgroup_layout("30 20 0:26 / /cg rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user/own\n")


def plan(layout: CgroupLayout, **linux: Any) -> CgroupPlan:
    document = {"ociVersion": "1.3.0", "linux": linux}
    return plan_cgroup(decode(Config, document), layout, "box", rootless=False)


def writes(found: CgroupPlan) -> dict[str, str]:
    return {step.path: step.value for step in found.limits if isinstance(step, WriteCgroupFile)}


def test_hierarchies_are_found_in_mountinfo() -> None:
    assert (V1.mode, V2.mode) == ("v1", "v2")
    assert [entry.mount_point for entry in V1.hierarchies] == [
        "/cg/memory",
        "/cg/cpu,cpuacct",
        "/cg/devices",
        "/cg/my pids",
    ]


def test_a_container_goes_below_its_runtime_and_where_the_config_says() -> None:
    assert plan(V1).paths["memory"] == "/cg/memory/own/box"
    assert plan(V1, cgroupsPath="/a/../b").paths["pids"] == "/cg/my pids/b"
    assert plan(V2).paths[""] == "/cg/user/box"
    assert plan(V1).join_files[0] == "/cg/memory/own/box/tasks"
    assert plan(V2).clone_directory == "/cg/user/box"


@pytest.mark.parametrize("path", ["/", "/..", "a:b:c"])
def test_impossible_paths_are_refused(path: str) -> None:
    with pytest.raises(SpecError) as failure:
        plan(V1, cgroupsPath=path)
    assert failure.value.where == "/linux/cgroupsPath"


def test_limits_of_v1() -> None:
    found = plan(
        V1, resources={"memory": {"limit": 100, "swap": 200, "reservation": 50}, "pids": {"limit": 0}}
    )
    assert [step for step in found.limits if isinstance(step, WriteMemoryLimits)] == [
        WriteMemoryLimits(
            origin="/linux/resources/memory/limit", directory="/cg/memory/own/box", limit="100", swap="200"
        )
    ]
    assert writes(found)["/cg/memory/own/box/memory.soft_limit_in_bytes"] == "50"
    assert writes(found)["/cg/my pids/own/box/pids.max"] == "1"


def test_the_device_policy_of_v1_is_written_before_anybody_is_inside() -> None:
    found = plan(
        V1, resources={"devices": [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]}
    )
    values = [
        line.partition(" = ")[2] for step in found.make for line, _ in step.lines() if "devices." in line
    ]
    assert values[:3] == ["a", "c 1:11 r", "c *:* m"]
    assert not [path for path in writes(found) if "devices." in path]


def test_limits_of_v2() -> None:
    resources = {
        "memory": {"limit": 100, "swap": 250},
        "cpu": {"shares": 1024, "quota": -1, "period": 50000},
        "pids": {"limit": -1},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}]},
        "unified": {"memory.high": "90"},
    }
    found = writes(plan(V2, resources=resources))
    assert found == {
        "/cg/user/box/memory.swap.max": "150",
        "/cg/user/box/memory.max": "100",
        "/cg/user/box/cpu.weight": "100",
        "/cg/user/box/cpu.max": "max 50000",
        "/cg/user/box/pids.max": "max",
        "/cg/user/box/io.max": "8:0 rbps=7",
        "/cg/user/box/memory.high": "90",
    }
    assert list(found)[-1].endswith("memory.high")


@pytest.mark.parametrize(
    ("resources", "pointer"),
    [
        ({"memory": {"limit": 200, "swap": 100}}, "/linux/resources/memory/swap"),
        ({"memory": {"swap": 100}}, "/linux/resources/memory/swap"),
        ({"unified": {"../x": "1"}}, "/linux/resources/unified/..~1x"),
        ({"network": {"classID": 1}}, "/linux/resources/network/classID"),
    ],
)
def test_limits_that_make_no_sense_on_v2(resources: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as failure:
        plan(V2, resources=resources)
    assert failure.value.where == pointer


def test_a_limit_without_its_controller_is_refused() -> None:
    with pytest.raises(SpecError, match="controller hugetlb is not available"):
        plan(V1, resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]})


def test_shares_become_weights() -> None:
    assert [weight_of_shares(shares) for shares in (2, 1024, 262144)] == [1, 100, 10000]


def verdict(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Run the few eBPF instructions that a device policy is made of."""
    context = {0: access << 16 | kind, 4: major, 8: minor}
    registers = [0] * 11
    position = 0
    while True:
        opcode, ends, offset, constant = (
            program[position * 8],
            program[position * 8 + 1],
            int.from_bytes(program[position * 8 + 2 : position * 8 + 4], "little", signed=True),
            int.from_bytes(program[position * 8 + 4 : position * 8 + 8], "little"),
        )
        target, source = ends & 15, ends >> 4
        position += 1
        if opcode == 0x61:
            registers[target] = context[offset]
        elif opcode == 0x54:
            registers[target] &= constant
        elif opcode == 0x74:
            registers[target] >>= constant
        elif opcode == 0xBC:
            registers[target] = registers[source]
        elif opcode == 0xB7:
            registers[target] = constant
        elif opcode == 0x55:
            position += offset if registers[target] != constant else 0
        else:
            assert opcode == 0x95
            return registers[0]


BLOCK, CHARACTER, MKNOD, READ, WRITE = 1, 2, 1, 2, 4


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        ((CHARACTER, READ | WRITE, 1, 3), 1),  # /dev/null is a default
        ((CHARACTER, READ, 10, 1), 1),  # the rule for reading
        ((CHARACTER, WRITE, 10, 1), 0),
        ((CHARACTER, READ | WRITE, 10, 1), 0),
        ((CHARACTER, READ, 10, 2), 0),  # taken back by the later rule
        ((BLOCK, MKNOD, 8, 0), 1),  # making nodes is a default
        ((BLOCK, READ, 8, 0), 0),
    ],
)
def test_the_device_policy_of_v2(request_: tuple[int, int, int, int], allowed: int) -> None:
    resources = decode(
        Resources,
        {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "access": "r"},
                {"allow": False, "type": "c", "major": 10, "minor": 2, "access": "rwm"},
            ]
        },
    )
    program = device_program(device_rules(resources))
    assert verdict(program, *request_) == allowed


WRITABLE = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
MAPS = [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5000, "size": 10}]


def owner(
    *kinds: str, mount: dict[str, Any] | None = None, user: int = 0, maps: list[dict[str, int]] | None = None
) -> int:
    document = {
        "ociVersion": "1.3.0",
        "linux": {"namespaces": [{"type": kind} for kind in kinds], "uidMappings": maps or []},
        "mounts": [WRITABLE if mount is None else mount],
        "process": {"cwd": "/", "user": {"uid": user, "gid": 0}},
    }
    return cgroup_owner(decode(Config, document))


def test_the_user_that_may_write_to_its_cgroup_owns_it() -> None:
    assert owner("cgroup", user=7) == 7
    assert owner("cgroup", "user", user=3, maps=MAPS) == 1003
    assert owner("cgroup", "user", user=12, maps=MAPS) == 5002
    assert owner("cgroup", "user", user=30, maps=MAPS) == -1, "not mapped"
    assert owner("user", user=3, maps=MAPS) == -1, "no cgroup namespace"
    assert owner("cgroup", mount=WRITABLE | {"options": ["ro"]}) == -1
    assert owner("cgroup", mount=WRITABLE | {"destination": "/elsewhere"}) == -1
    document = {"namespaces": [{"type": "cgroup"}]}
    config = {"ociVersion": "1.3.0", "linux": document, "mounts": [WRITABLE]}
    made = plan_cgroup(
        decode(Config, config | {"process": {"cwd": "/", "user": {"uid": 7, "gid": 0}}}),
        V2,
        "box",
        rootless=False,
    ).make
    assert made[-1] == OwnCgroup(origin="/linux/cgroupsPath", path="/cg/user/box", user=7)


@pytest.mark.parametrize(
    ("resources", "where"),
    [
        ({"cpu": {"shares": 5}, "pids": {"limit": 3}, "unified": {"cpuset.cpus": "0"}}, ""),
        ({"memory": {"limit": 1}}, "/linux/resources/memory"),
        ({"blockIO": {"weight": 10}}, "/linux/resources/blockIO"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, "/linux/resources/hugepageLimits"),
        ({"rdma": {"mlx": {"hcaHandles": 1}}}, "/linux/resources/rdma"),
        ({"unified": {"memory.max": "1"}}, "/linux/resources/unified/memory.max"),
    ],
)
def test_limits_that_threads_cannot_have_are_known(resources: dict[str, Any], where: str) -> None:
    assert domain_limit(decode(Resources, resources)) == where
