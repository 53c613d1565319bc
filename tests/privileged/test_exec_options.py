"""Options of create, run and exec that callers use to keep hold of a process, or to place it."""

import array
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "pidfd"))
        listening.listen()
        listening.settimeout(10)
        yield listening


def receive(listening: socket.socket) -> tuple[bytes, int]:
    """The message and the pid of the process whose pidfd came with it."""
    connection, _ = listening.accept()
    with connection:
        message, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
        [(_, _, data)] = ancillary
        descriptor = array.array("i", data[:4])[0]
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
        os.close(descriptor)
        return message, next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def test_a_pidfd_of_init_and_of_an_exec_is_sent(
    runtime: Runtime, receiver: socket.socket, tmp_path: Path
) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("create", "--bundle", str(bundle), "--pidfd-socket", str(tmp_path / "pidfd"), name)
    assert receive(receiver) == (b"standard", runtime.state(name)["pid"])
    runtime.call("start", name)
    pid_file = tmp_path / "pid"
    runtime.call(
        "exec",
        "--detach",
        "--pid-file",
        str(pid_file),
        "--pidfd-socket",
        str(tmp_path / "pidfd"),
        name,
        "sleep",
        "50",
    )
    assert receive(receiver) == (b"setns", int(pid_file.read_text()))


def test_a_pidfd_socket_without_a_receiver_leaves_nothing_behind(runtime: Runtime, tmp_path: Path) -> None:
    bundle, name = runtime.bundle("true"), runtime.new_id()
    result = runtime.call(
        "run", "--bundle", str(bundle), "--pidfd-socket", str(tmp_path / "no"), name, check=False
    )
    assert result.returncode == 1
    assert "cannot connect to the pidfd socket" in result.stderr
    assert runtime.leftovers() == []


def own_cgroups(pid: int) -> dict[str, Path]:
    """Controller ("" for v2) to the directory of a process's cgroup."""
    mounts = [
        line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line
    ]
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for words in mounts:
            kind, options = words[-3], words[-1].split(",")
            if (controllers and kind == "cgroup" and controllers.split(",")[0] in options) or (
                not controllers and kind == "cgroup2"
            ):
                relative = os.path.relpath(path, words[3])
                found[controllers.split(",")[0]] = Path(words[4]) / relative
    return found


def test_exec_enters_a_cgroup_below_the_containers(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    groups = own_cgroups(runtime.state(name)["pid"])
    controller = "pids" if "pids" in groups else ""
    below = groups[controller] / "below"
    below.mkdir()
    word = f"{controller}:below" if controller else "below"
    shown = runtime.call("exec", "--cgroup", word, name, "cat", "/proc/self/cgroup").stdout
    assert [line for line in shown.splitlines() if line.endswith("/below")]
    for wrong, text in (
        (f"{controller}:../.." if controller else "../..", "is not a sub cgroup path"),
        ("nosuch:below", "unknown controller nosuch"),
        (f"{controller}:missing" if controller else "missing", "does not exist"),
        (":below", "empty <controller> prefix"),
    ):
        refused = runtime.call("exec", "--cgroup", wrong, name, "true", check=False)
        assert refused.returncode != 0
        assert text in refused.stderr
    below.rmdir()


def test_a_process_file_that_says_nothing_about_it_gets_what_the_container_has(
    runtime: Runtime, tmp_path: Path
) -> None:
    def edit(config: dict[str, Any]) -> None:
        for name in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][name] = ["CAP_NET_RAW"]
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]
        config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
        config["linux"]["personality"] = {"domain": "LINUX32"}

    name = runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(runtime.bundle("sleep", "100", edit=edit)), name)
    script = "grep CapEff /proc/self/status; ulimit -n; cat /proc/self/personality"
    process = {"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process))
    assert runtime.call("exec", "--process", str(file), name).stdout.split() == [
        "CapEff:", f"{1 << 13:016x}", "99", "00000008",
    ]  # fmt: skip
    file.write_text(json.dumps({**process, "capabilities": {}, "rlimits": []}))
    assert runtime.call("exec", "--process", str(file), name).stdout.split()[1] == "0" * 16
