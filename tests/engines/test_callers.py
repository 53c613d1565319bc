"""What conmon, podman and go-runc (containerd, docker) ask of a runtime, asked without them: argv, environment, log,
pid file, console socket.  runc stands beside pyruntime: what holds for one must hold for both."""

import ctypes
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.engines.differential import RUNTIMES, runtime_path
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]
pytestmark = pytest.mark.privileged
PR_SET_CHILD_SUBREAPER = 36
CONMON = {
    "HOME": "/root",
    "PATH": "/usr/bin:/bin",
    "XDG_RUNTIME_DIR": "",
    "_OCI_SYNCPIPE": "3",
    "_OCI_STARTPIPE": "4",
}
PODMAN = {"XDG_RUNTIME_DIR": ""}  # nothing else for kill, delete, pause and resume: no PATH, no HOME
TRAP = "trap 'exit 3' TERM; while :; do sleep 0.1; done"


class Caller:
    """Calls one runtime with a container's id at the end, as engines do."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        self.bundles = runtime
        self.program = runtime_path(name)
        self.directory = runtime.directory
        self.log = self.directory / "log.json"
        self.pid_file = self.directory / "pid"
        self.name = runtime.new_id()

    def conmon(self, *arguments: str, **options: Any) -> tuple[int, int, int]:
        """Call as conmon does; returns exit code and the reading ends of stdout and stderr."""
        ends = [os.pipe(), os.pipe()]
        process = subprocess.Popen(
            [self.program, *self.words("--log-format=json", f"--log={self.log}", *arguments)],
            stdin=subprocess.DEVNULL,
            stdout=ends[0][1],
            stderr=ends[1][1],
            env=CONMON,
            **options,
        )
        for _, write in ends:
            os.close(write)
        return process.wait(20), ends[0][0], ends[1][0]

    def words(self, *arguments: str) -> list[str]:
        return [f"--root={self.directory}/root", *arguments, self.name]

    def call(self, *arguments: str, stdin: str = "", signal: str = "") -> "subprocess.CompletedProcess[str]":
        """Call as podman does, with nearly nothing in the environment."""
        tail = [signal] if signal else []
        return subprocess.run(
            [self.program, *self.words(*arguments), *tail],
            input=stdin, env=PODMAN, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    def go_runc(
        self, *arguments: str, stdin: str = "", signal: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Call with the global options in go-runc's order."""
        return self.call(
            "--log", str(self.log), "--log-format", "json", *arguments, stdin=stdin, signal=signal
        )

    def errors(self) -> list[str]:
        """The messages of the log's error lines, decoded as go-runc does: each line with a time of RFC 3339."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        for line in lines:
            assert datetime.fromisoformat(line["time"]).tzinfo is not None
        return [line["msg"] for line in lines if line["level"] == "error"]

    def pid(self) -> int:
        return int(self.pid_file.read_text())


@pytest.fixture(params=RUNTIMES)
def caller(runtime: Runtime, request: pytest.FixtureRequest) -> Iterator[Caller]:
    """A caller that is subreaper, as conmon and the shim are."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    caller = Caller(runtime, request.param)
    try:
        yield caller
    finally:
        caller.call("delete", "--force")
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def read_all(fd: int) -> str:
    with os.fdopen(fd) as source:
        return source.read()


def exit_code(pid: int) -> int:
    """Wait for a process that became a child of the subreaper."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def create(caller: Caller, script: str, *options: str, edit: Any = None) -> tuple[int, int]:
    bundle = caller.bundles.bundle("sh", "-c", script, edit=edit)
    code, out, err = caller.conmon(
        "create", "--bundle", str(bundle), "--pid-file", str(caller.pid_file), *options
    )
    assert code == 0, read_all(err)
    return out, err


def test_conmon_runs_a_container(caller: Caller) -> None:
    out, err = create(caller, "echo out; echo err >&2; exit 7")
    assert caller.call("start").returncode == 0
    assert exit_code(caller.pid()) == 7
    assert (read_all(out), read_all(err)) == ("out\n", "err\n")
    assert not caller.log.exists() or caller.log.read_text() == ""
    assert [caller.call("delete", "--force").returncode for _ in range(2)] == [0, 0]


def test_conmon_learns_why_create_failed(caller: Caller) -> None:
    bundle = caller.bundles.bundle("/nope")
    code, out, err = caller.conmon("create", "--bundle", str(bundle), "--pid-file", str(caller.pid_file))
    os.close(out)
    (message,) = caller.errors()
    said = read_all(err)
    assert code == 1
    for text in (message, said.splitlines()[-1]):
        assert 'exec: "/nope": stat /nope: no such file or directory' in text
    assert not caller.pid_file.exists()
    assert caller.call("delete", "--force").returncode == 0


def test_conmon_executes_in_a_container(caller: Caller, tmp_path: Path) -> None:
    for fd in create(caller, TRAP):
        os.close(fd)
    assert caller.call("start").returncode == 0
    process = tmp_path / "process"
    process.write_text(
        json.dumps(
            {
                "args": ["sh", "-c", "echo $A; id -u; exit 5"],
                "cwd": "/tmp",
                "env": ["PATH=/bin", "A=b"],
                "user": {"uid": 5, "gid": 5},
            }
        )
    )
    first = caller.pid()
    caller.pid_file = tmp_path / "exec_pid"
    code, out, err = caller.conmon(
        "exec", "--pid-file", str(caller.pid_file), "--process", str(process), "--detach", cwd=tmp_path
    )
    assert (code, exit_code(caller.pid())) == (0, 5), read_all(err)
    assert read_all(out) == "b\n5\n"
    os.close(err)
    assert caller.call("kill", signal="15").returncode == 0
    assert exit_code(first) == 3
    process.write_text(json.dumps({"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}))
    code, out, err = caller.conmon("exec", "--process", str(process), "--detach")
    os.close(out)
    assert (code != 0, "stopped container" in read_all(err)) == (True, True)


def test_a_console_socket_gets_exactly_one_descriptor(caller: Caller) -> None:
    def terminal(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True

    with socket.socket(socket.AF_UNIX) as listener:
        path = str(caller.directory / "tty")
        listener.bind(path)
        listener.listen()
        for fd in create(caller, "tty; exit 6", "--console-socket", path, edit=terminal):
            os.close(fd)
        connection, _ = listener.accept()
        with connection:
            name, fds, _, _ = socket.recv_fds(connection, 4096, 4)
    assert (len(fds), b"ptmx" in name or b"pts" in name) == (1, True), name
    assert caller.call("start").returncode == 0
    shown = os.read(fds[0], 100)
    assert exit_code(caller.pid()) == 6
    os.close(fds[0])
    assert b"/dev/" in shown


def test_go_runc_drives_a_life(caller: Caller) -> None:
    bundle = caller.bundles.bundle("sh", "-c", TRAP)
    caller.pid_file = bundle / "init.pid"
    options = ("create", "--bundle", str(bundle), "--pid-file", str(caller.pid_file))
    code, out, err = caller.conmon(*options)
    assert code == 0, read_all(err)
    for fd in (out, err):
        os.close(fd)
    assert caller.go_runc("start").returncode == 0
    assert caller.pid() in json.loads(caller.go_runc("ps", "--format", "json").stdout)
    for verb in ("pause", "resume"):
        assert caller.go_runc(verb).returncode == 0
    for form in (("--resources=-",), ("--resources", "-")):
        assert caller.go_runc("update", *form, stdin='{"memory": {"limit": 60000000}}').returncode == 0
    assert "already" in caller.go_runc("start").stderr
    assert caller.go_runc("kill", signal="15").returncode == 0
    assert exit_code(caller.pid()) == 3
    assert caller.go_runc("kill", signal="9").returncode == 1
    assert "container not running" in caller.errors()[-1]
    assert caller.go_runc("kill", "--all", signal="9").returncode in (0, 1)
    assert [caller.go_runc("delete").returncode, caller.go_runc("delete", "--force").returncode] == [0, 0]
    assert caller.go_runc("delete").returncode == 1
    assert "does not exist" in caller.errors()[-1]


def test_probes(caller: Caller) -> None:
    """docker reads the version; podman looks for checkpoint; cri-o wants features without a word on stderr."""
    run = [caller.program]
    version = subprocess.run(
        [*run, "--version"], env=PODMAN, capture_output=True, text=True, check=True
    ).stdout
    assert re.match(r"\w+ version \S+", version)
    assert (
        subprocess.run([*run, "checkpoint", "--help"], env=PODMAN, capture_output=True, check=True).stderr
        == b""
    )
    probe = subprocess.run(
        [*run, "restore", "--lsm-mount-context"], env=PODMAN, capture_output=True, text=True, check=False
    )
    assert "needs an argument" in probe.stdout + probe.stderr
