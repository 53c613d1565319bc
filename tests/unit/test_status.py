"""The status of a container follows from its init, its fifo and its cgroup."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyruntime.host.process import is_alive, open_process, parse_start_time, start_time, wait_for_end
from pyruntime.store.state import ContainerState
from pyruntime.store.status import hook_document, state_document, status_of


@pytest.fixture
def init() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-ISc", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def state_of(process: subprocess.Popen[bytes], **values: object) -> ContainerState:
    state = ContainerState(
        oci_version="1.0.0", id="c1", bundle="/b", pid=process.pid, pid_start_time=start_time(process.pid)
    )
    return state.replace(**values)


def test_a_living_init_is_running_and_with_a_fifo_created(
    init: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    state = state_of(init)
    assert status_of(state, str(tmp_path)) == "running"
    os.mkfifo(tmp_path / "exec.fifo")
    assert status_of(state, str(tmp_path)) == "created"
    os.rename(tmp_path / "exec.fifo", tmp_path / "unfinished.fifo")
    assert status_of(state, str(tmp_path)) == "creating"


def test_a_zombie_is_stopped(init: subprocess.Popen[bytes], tmp_path: Path) -> None:
    state = state_of(init)
    descriptor = open_process(state.pid, state.pid_start_time)
    init.kill()
    assert wait_for_end(descriptor, 5000)
    os.close(descriptor)
    assert status_of(state, str(tmp_path)) == "stopped"


def test_another_process_with_the_same_pid_is_not_the_init(
    init: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    state = state_of(init)
    other = state.replace(pid_start_time=state.pid_start_time + 1)
    assert status_of(other, str(tmp_path)) == "stopped"
    with pytest.raises(ProcessLookupError):
        open_process(other.pid, other.pid_start_time)


def test_without_an_init_the_container_is_creating_or_stopped(tmp_path: Path) -> None:
    state = ContainerState(oci_version="1.0.0", id="c1", bundle="/b")
    assert status_of(state.replace(creating=True), str(tmp_path)) == "creating"
    assert status_of(state, str(tmp_path)) == "stopped"


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("cgroup.freeze", "1\n", "paused"),
        ("cgroup.freeze", "0\n", "running"),
        ("freezer.state", "FROZEN\n", "paused"),
        ("freezer.state", "FREEZING\n", "paused"),
        ("freezer.state", "THAWED\n", "running"),
    ],
)
def test_a_frozen_cgroup_is_paused(
    init: subprocess.Popen[bytes], tmp_path: Path, name: str, content: str, status: str
) -> None:
    (tmp_path / name).write_text(content)
    controller = "freezer" if name == "freezer.state" else ""
    state = state_of(init, cgroup_paths={"pids": str(tmp_path / "missing"), controller: str(tmp_path)})
    assert status_of(state, str(tmp_path)) == status


def test_the_start_time_is_found_behind_a_name_with_brackets_and_blanks() -> None:
    fields = " ".join(["S", "1", *["0"] * 17, "4711", "0"])
    assert parse_start_time(f"12 (a) Z (b c) {fields}") == 4711
    assert parse_start_time(f"12 (x) {fields.replace('S', 'Z', 1)}") == 0
    assert parse_start_time("12 (x) S") == 0


def test_a_process_that_is_not_there_is_not_alive() -> None:
    assert start_time(0) == 0
    assert start_time(2**22 + 1) == 0
    assert not is_alive(2**22 + 1, 0)
    assert is_alive(os.getpid(), start_time(os.getpid()))


def test_hooks_get_the_state_of_the_spec_in_one_line() -> None:
    state = ContainerState(oci_version="1.2.0", id="c1", bundle="/b", annotations={"a": "ä"})
    assert hook_document(state, "creating", 5) == (
        b'{"ociVersion":"1.2.0","id":"c1","status":"creating","pid":5,"bundle":"/b","annotations":{"a":"\\u00e4"}}'
    )


def test_the_state_has_runcs_order_and_no_pid_once_it_is_stopped() -> None:
    state = ContainerState(oci_version="1.2.0", id="c1", bundle="/b", pid=5, annotations={"a": "b"})
    names = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations"]
    assert list(state_document(state, "running")) == names
    assert state_document(state, "stopped")["pid"] == 0
    assert "annotations" not in state_document(state.replace(annotations={}), "running")
