"""What fails once the process is there already: it is ended, and nothing of it is left."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pyruntime.execute.session import StartedExecutor
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


def processes_of(name: str) -> list[str]:
    """The commands of the processes that are in a cgroup of this container's name."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text()  # empty once it has ended, until its parent asks
            if command and name in (entry / "cgroup").read_text():
                found.append(command)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return found


def where_no_file_can_be(directory: Path) -> list[tuple[Path, str]]:
    """Paths for a pid file that cannot be written, and what the kernel says of each."""
    (directory / "taken").mkdir()
    return [
        (directory / "absent/pid", f"open {directory}/absent/.pid: no such file or directory"),
        (directory / "taken", f"rename {directory}/.taken {directory}/taken: is a directory"),
    ]


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_pid_file_that_cannot_be_written(runtime: Runtime, verb: str) -> None:
    bundle = runtime.bundle("sleep", "100")
    for path, reason in where_no_file_can_be(runtime.directory):
        name = runtime.new_id()
        failed = runtime.call(verb, "--bundle", str(bundle), "--pid-file", str(path), name, check=False)
        assert (failed.returncode, processes_of(name)) == (1, [])
        assert failed.stderr == f"pyruntime {verb} failed: {name}: {reason}\n"
        assert runtime.call("state", name, check=False).returncode == 1
    assert not (runtime.directory / ".taken").exists()


def test_a_pid_file_of_exec_that_cannot_be_written(runtime: Runtime) -> None:
    name = runtime.new_id()
    runtime.call("create", "--bundle", str(runtime.bundle("sleep", "100")), name)
    runtime.call("start", name)
    for path, reason in where_no_file_can_be(runtime.directory):
        words = ("exec", "--detach", "--pid-file", str(path), name, "sleep", "77")
        failed = runtime.call(*words, check=False)
        assert (failed.returncode, failed.stderr) == (255, f"pyruntime exec failed: {name}: {reason}\n")
        assert processes_of(name) == ["sleep\x00100\x00"]


def test_a_receiver_of_the_pidfd_that_hangs_up(runtime: Runtime) -> None:
    name, path = runtime.new_id(), runtime.directory / "receiver"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"until test -e {runtime.directory}/gone; do sleep 0.01; done"],
    }

    def edit(config: dict[str, object]) -> None:
        config["hooks"] = {"createRuntime": [hook]}

    bundle = runtime.bundle("sleep", "100", edit=edit)
    with socket.socket(socket.AF_UNIX) as receiver:
        receiver.bind(str(path))
        receiver.listen()
        if (child := os.fork()) == 0:
            receiver.accept()[0].close()
            receiver.close()
            (runtime.directory / "gone").touch()
            os._exit(0)
        receiver.close()
        failed = runtime.call(
            "create", "--bundle", str(bundle), "--pidfd-socket", str(path), name, check=False
        )
        os.waitpid(child, 0)
    assert (failed.returncode, processes_of(name)) == (1, [])
    assert "cannot send the pidfd: broken pipe" in failed.stderr


def test_what_was_started_in_advance_goes_with_a_config_that_is_wrong(runtime: Runtime) -> None:
    bundle = runtime.bundle("true", edit=lambda config: config.update(process={"cwd": "no"}))
    failed = runtime.call("run", "--bundle", str(bundle), name := runtime.new_id(), check=False)
    assert failed.returncode == 1
    assert "/process" in failed.stderr
    assert processes_of(name) == []
    with StartedExecutor(first_private=3, descriptors={}) as executor:
        pid = executor.pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_plan_that_no_pipe_holds_at_once(runtime: Runtime) -> None:
    much = "x" * 100_000
    done = runtime.run(
        "sh",
        "-c",
        "echo ${#A} ${#B}",
        edit=lambda config: config["process"]["env"].extend([f"A={much}", f"B={much}"]),
    )
    assert done.stdout == "100000 100000\n"


def test_a_state_directory_without_room(runtime: Runtime) -> None:
    """Whatever does not fit any more: the error says so, and the directory is empty again."""
    bundle, reasons = runtime.bundle("true"), set()
    runtime.root.mkdir()
    for inodes in range(2, 8):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"nr_inodes={inodes}", "none", runtime.root], check=True
        )
        try:
            name = runtime.new_id()
            done = runtime.call("create", "--bundle", str(bundle), name, check=False)
            if done.returncode == 0:
                runtime.call("delete", "--force", name)
            assert os.listdir(runtime.root) == []
            reasons.add(done.stderr.removeprefix(f"pyruntime create failed: {name}: ").partition(" (")[0])
        finally:
            subprocess.run(["umount", runtime.root], check=True)
    assert reasons == {
        "cannot save the state: no space left on device",
        "cannot make the gate of start: no space left on device",
        "",
    }


def test_an_exec_that_was_begun_in_advance_leaves_the_container_when_its_plan_is_wrong(
    runtime: Runtime,
) -> None:
    name = runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(runtime.bundle("sleep", "100")), name)
    process = runtime.directory / "process.json"
    limit = {"type": "RLIMIT_NONE", "soft": 1, "hard": 1}
    process.write_text(json.dumps({"args": ["true"], "cwd": "/", "rlimits": [limit]}))
    for _ in range(5):
        failed = runtime.call("exec", "--process", str(process), name, check=False)
        assert (failed.returncode, processes_of(name)) == (255, ["sleep\x00100\x00"])
        assert "/process/rlimits/0/type" in failed.stderr


def test_what_fails_of_what_was_begun_in_advance_is_told(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"] = {"pids": {"limit": 1}}

    name = runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(runtime.bundle("sleep", "100", edit=edit)), name)
    failed = runtime.call("exec", name, "true", check=False)
    assert (failed.returncode, processes_of(name)) == (255, ["sleep\x00100\x00"])
    assert "clone3: resource temporarily unavailable" in failed.stderr


def test_what_was_started_in_advance_goes_before_the_program_starts_again(runtime: Runtime) -> None:
    """For a filter that is not in the cache: the waiting process has its container for a child, and no other."""

    def forbid(config: dict[str, Any]) -> None:
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    bundle, name = runtime.bundle("sleep", "100", edit=forbid), runtime.new_id()
    command = [*runtime.command, "run", "--bundle", str(bundle), name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as waiting:
        try:
            children = Path(f"/proc/{waiting.pid}/task/{waiting.pid}/children")
            deadline = time.monotonic() + 10
            while "sleep" not in runtime.call("ps", name, check=False).stdout:
                assert time.monotonic() < deadline, "the container does not start"
            assert children.read_text().split() == [str(runtime.state(name)["pid"])]
        finally:
            runtime.call("kill", name, "KILL", check=False)
