"""CRIU without CRIU: its wire format, its log, and what the command line may say."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError, UsageError
from pyruntime.execute.criu import messages
from pyruntime.execute.criu.failure import criu_failure
from pyruntime.execute.criu.paths import path_in_root
from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.criu import external_mounts, masked_paths, plan_mount_points
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import plan_create
from pyruntime.plan.operations import Await, Clone, JoinCgroup, MakeDirectory, Mount, Tell, Unshare
from pyruntime.spec.config import Config
from pyruntime.verbs.checkpoint import _page_server
from pyruntime.verbs.criu_options import read_criu_options
from pyruntime.verbs.interface import Arguments

DEFAULT = Path(__file__).parents[1] / "golden/default.json"


def test_a_request_is_what_protocol_buffers_say() -> None:
    request = {"type": messages.DUMP, "opts": {"images_dir_fd": 5, "pid": 300, "log_file": "a"}}
    # Field 1 is 1; field 2 has 7 bytes: field 1 is 5, field 2 is 300 in two digits of 7 bits, field 10 is "a".
    assert messages.encode(request, messages.REQUEST).hex(" ") == "08 01 12 08 08 05 10 ac 02 52 01 61"


NUMBERS = st.integers(min_value=-(2**31), max_value=2**32)
TEXTS = st.text(max_size=200)


@given(st.fixed_dictionaries({"pid": NUMBERS, "root": TEXTS, "log_level": NUMBERS}))
def test_what_is_encoded_is_decoded(options: dict[str, object]) -> None:
    request = {"type": 1, "opts": options, "notify_success": True}
    assert messages.decode(messages.encode(request, messages.REQUEST), messages.REQUEST) == request


def test_repeated_fields_and_fields_that_are_not_known() -> None:
    options = {"external": ["a", "b"], "ext_mnt": [{"key": "k", "val": "v"}, {"key": "l", "val": "w"}]}
    data = messages.encode({"opts": options}, messages.REQUEST)
    unknown = bytes([15 << 3 | 5, 1, 2, 3, 4, 14 << 3 | 1, *range(8), 13 << 3 | 2, 1, 0])
    assert messages.decode(unknown + data, messages.REQUEST) == {"opts": options}


@given(st.binary(max_size=100))
def test_nonsense_is_refused_and_nothing_worse(data: bytes) -> None:
    try:
        messages.decode(data, messages.RESPONSE)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.", "tcp"),
        ("Error (criu/tty.c:1): tty: Found dangling tty with sid 1", "--shell-job"),
        ("Error (criu/sk-unix.c:1): External socket is used. Consider using --ext-unix-sk option.", "--ext-unix"),
        ("Error (criu/file-lock.c:1): Some file locks are hold by dumping tasks! (file-locks)", "--file-locks"),
        ("Error (criu/mount.c:1): mnt: 9:./x doesn't have a proper root mount", "unmount it"),
    ],
)  # fmt: skip
def test_the_log_is_quoted_with_what_may_help(tmp_path: Path, line: str, hint: str) -> None:
    log = tmp_path / "dump.log"
    log.write_text(f"(00.1) fine\n(00.2)      1: {line}\n(00.3) Warn  (criu/x.c:1): never mind\n")
    error = criu_failure({"type": messages.DUMP, "cr_errno": 1}, str(log))
    assert error.what == (
        "criu failed: type DUMP errno 1 (operation not permitted): " + line.partition("): ")[2]
    )
    assert error.where == str(log)
    assert hint in error.hint


def test_a_path_is_followed_as_in_the_container(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "up").symlink_to("../../../etc")
    (tmp_path / "loop").symlink_to("loop")
    assert path_in_root(str(tmp_path), "/var/run/secrets") == "/run/secrets"
    assert path_in_root(str(tmp_path), "/up/hosts/../x") == "/etc/x"
    assert path_in_root(str(tmp_path), "/loop/x") == "/loop/x"


NO_CGROUPS = CgroupLayout(mode="none")
V1 = parse_cgroup_layout("30 20 0:26 / /cg/pids rw - cgroup cgroup rw,pids\n", "1:pids:/own\n")


def planned(layout: CgroupLayout = NO_CGROUPS, **changes: Any) -> Any:
    document = json.loads(DEFAULT.read_text())
    document["mounts"] += changes.pop("mounts", [])
    document["linux"].update(changes)
    config = decode(Config, document)
    return plan_create(config, "c", "/bundle", HostFacts(), layout).operations


def test_what_is_bound_from_outside_is_external() -> None:
    mount = {"destination": "/data", "source": "data", "type": "bind", "options": ["rbind", "ro"]}
    operations = planned(mounts=[mount])
    assert external_mounts(operations) == (("/data", "/bundle/data"),)
    assert "/proc/kcore" in masked_paths(operations)


def test_an_idmapped_mount_is_refused() -> None:
    mapping = [{"containerID": 0, "hostID": 1000, "size": 1}]
    mount = {"destination": "/data", "source": "data", "options": ["bind"]}
    operations = planned(mounts=[mount | {"uidMappings": mapping, "gidMappings": mapping}])
    with pytest.raises(SpecError, match="idmapped"):
        external_mounts(operations)


@pytest.mark.parametrize("layout", [NO_CGROUPS, V1])
def test_mount_points_are_made_by_the_same_steps_and_nothing_else(layout: CgroupLayout) -> None:
    operations = planned(layout, namespaces=[{"type": "mount"}, {"type": "cgroup"}])
    steps = plan_mount_points(operations)
    assert [step for step in steps if isinstance(step, Mount)] == [
        step for step in operations if isinstance(step, Mount)
    ]
    assert not [step for step in steps if isinstance(step, (Await, JoinCgroup, Tell, Clone))]
    assert [step.flags for step in steps if isinstance(step, Unshare)] == [0x20000]
    assert isinstance(steps[-1], MakeDirectory)


@pytest.mark.parametrize(
    ("name", "value"),
    [("manage-cgroups-mode", "none"), ("network-lock", "none"), ("empty-ns", "pid")],
)
def test_values_that_options_cannot_have(name: str, value: str) -> None:
    with pytest.raises(UsageError):
        read_criu_options(Arguments(["c"], {name: [value]}))


def test_the_address_of_a_page_server() -> None:
    assert _page_server("[::1]:80") == ("::1", "80")
    assert _page_server("host:1") == ("host", "1")
    for wrong in (":80", "host:", "host", "host:x", "host:70000"):
        with pytest.raises(UsageError):
            _page_server(wrong)
