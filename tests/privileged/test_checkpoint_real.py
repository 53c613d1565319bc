"""checkpoint and restore with CRIU itself, where it and the kernel go together."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Edit, Runtime, runtime
from tests.privileged.test_checkpoint import groups_of
from tests.privileged.test_terminal import read_until, with_terminal

__all__ = ["runtime"]


@pytest.fixture(autouse=True, scope="module")
def _criu_works() -> None:
    program = shutil.which("criu", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("criu is not installed")
    checked = subprocess.run([program, "check"], capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        pytest.skip("the kernel does not go with the installed CRIU: `criu check` fails")


class Saved:
    """A container that is saved and brought back."""

    def __init__(self, runtime: Runtime, script: str, edit: Edit | None = None) -> None:
        self.runtime = runtime
        self.bundle = runtime.bundle("sh", "-c", script, edit=edit)
        self.name = runtime.new_id()
        self.images = runtime.directory / f"{self.name}-images"

    def start(self) -> "Saved":
        """Start it on /dev/null: CRIU cannot open a file again that was opened with O_NOFOLLOW, as tempfile does."""
        command = [*self.runtime.command, "run", "-d", "--bundle", str(self.bundle), self.name]
        null = subprocess.DEVNULL
        subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True, timeout=60)
        return self

    def checkpoint(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = (*words, "--image-path", str(self.images)) if "--image-path" not in words else words
        return self.runtime.call("checkpoint", *words, self.name, check=check)

    def restore(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        paths = ("--bundle", str(self.bundle), "--image-path", str(self.images))
        return self.runtime.call("restore", "--detach", *paths, *words, self.name, check=check)

    def file(self, name: str) -> Path:
        return self.bundle / "rootfs/tmp" / name


def eventually(question: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


# Slow enough to leave an emulated machine time for CRIU.
COUNT = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n.new; mv /tmp/n.new /tmp/n; sleep 0.5; done"


def test_a_container_goes_on_where_it_was_in_the_same_limits(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"] = {
            "pids": {"limit": 55},
            "devices": [{"allow": False, "access": "rwm"}],
        }

    saved = Saved(runtime, COUNT, edit).start()
    count = saved.file("n")
    eventually(lambda: count.exists() and int(count.read_text()) > 1)
    saved.checkpoint()
    assert runtime.leftovers() == []
    before = int(count.read_text())
    saved.restore("--pid-file", str(runtime.directory / "pid"))
    eventually(lambda: int(count.read_text()) > before)
    assert int(count.read_text()) >= before
    state = runtime.state(saved.name)
    assert state["status"] == "running"
    assert state["pid"] == int((runtime.directory / "pid").read_text())
    assert saved.name in Path(f"/proc/{state['pid']}/cgroup").read_text()
    script = "echo $$; cat /sys/class/net/lo/flags; ls /proc | grep -c '^[0-9]'; cat /proc/timer_list"
    told = runtime.call("exec", saved.name, "sh", "-c", script).stdout.split()
    assert int(told[0]) < 100, "exec is in the pid namespace"
    assert int(told[1], 16) & 1, "the loopback device is up"
    assert len(told) == 3, "what was masked is masked"
    limits = [Path(group) / "pids.max" for group in groups_of(state["pid"])]
    assert "55" in [limit.read_text().strip() for limit in limits if limit.exists()]
    assert "criu" not in Path("/proc/self/mountinfo").read_text()
    runtime.call("pause", saved.name)
    runtime.call("resume", saved.name)
    runtime.call("kill", saved.name, "KILL")
    eventually(lambda: runtime.state(saved.name)["status"] == "stopped")


def test_a_container_that_is_left_running_and_one_saved_in_two_steps(runtime: Runtime) -> None:
    saved = Saved(runtime, COUNT).start()
    eventually(saved.file("n").exists)
    pid = runtime.state(saved.name)["pid"]
    saved.checkpoint("--leave-running", "--image-path", str(runtime.directory / "elsewhere"))
    assert runtime.state(saved.name) | {"status": "running", "pid": pid} == runtime.state(saved.name)
    saved.checkpoint("--pre-dump", "--image-path", str(runtime.directory / "before"))
    assert runtime.state(saved.name)["pid"] == pid
    saved.checkpoint("--parent-path", "../before")
    assert os.readlink(saved.images / "parent") == "../before"
    saved.restore()
    before = int(saved.file("n").read_text())
    eventually(lambda: int(saved.file("n").read_text()) > before)


def test_mounts_from_outside_come_back_also_in_a_fresh_root(runtime: Runtime) -> None:
    data = runtime.directory / "data"
    data.mkdir()

    def edit(config: dict[str, Any]) -> None:
        config["mounts"] += [
            {"destination": "/var/run/data", "source": str(data), "options": ["rbind"]},
            {"destination": "/made/tmp", "type": "tmpfs", "source": "tmpfs"},
        ]

    saved = Saved(
        runtime, "echo kept > /made/tmp/file; while :; do date > /run/data/now; sleep 0.5; done", edit
    )
    for path in ("run", "var"):
        (saved.bundle / "rootfs" / path).mkdir()
    (saved.bundle / "rootfs/var/run").symlink_to("/run")
    saved.start()
    eventually((data / "now").exists)
    saved.checkpoint()
    before = (data / "now").stat().st_mtime_ns
    (saved.bundle / "rootfs/run/data").rmdir()
    (saved.bundle / "rootfs/made/tmp").rmdir()
    (saved.bundle / "rootfs/made").rmdir()
    saved.restore()
    eventually(lambda: (data / "now").stat().st_mtime_ns > before)
    assert runtime.call("exec", saved.name, "cat", "/made/tmp/file").stdout == "kept\n"


def test_output_to_a_pipe_and_to_a_file_goes_on_to_those_of_the_restore(runtime: Runtime) -> None:
    script = "while :; do echo out; echo err >&2; sleep 0.5; done"
    saved = Saved(runtime, script)
    log = runtime.directory / "stderr"
    command = [*runtime.command, "run", "-d", "--bundle", str(saved.bundle), saved.name]
    reader, writer = os.pipe()
    with log.open("w") as errors:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=errors, check=True)
    os.close(writer)
    assert b"out" in read_until(reader, b"out")
    saved.checkpoint()
    os.close(reader)
    size = log.stat().st_size
    reader, writer = os.pipe()
    paths = ["--bundle", str(saved.bundle), "--image-path", str(saved.images)]
    command = [*runtime.command, "restore", "--detach", *paths, saved.name]
    with log.open("a") as errors:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=writer, stderr=errors, check=False
        ).returncode
    assert code == 0, log.read_text()
    os.close(writer)
    assert b"out" in read_until(reader, b"out")
    eventually(lambda: log.stat().st_size > size)
    os.close(reader)


@contextlib.contextmanager
def console(runtime: Runtime) -> Iterator[tuple[str, Callable[[], int]]]:
    """A console socket's path, and what waits for the master that comes over it."""
    path = runtime.directory / f"console-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(60)

        def receive() -> int:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(60)
                _, descriptors, _, _ = socket.recv_fds(connection, 64, 4)
            assert len(descriptors) == 1
            return descriptors[0]

        yield str(path), receive


def test_a_terminal_comes_back_over_the_console_socket(runtime: Runtime) -> None:
    saved = Saved(runtime, "while read x; do echo got-$x; done", with_terminal)
    with console(runtime) as (path, receive):
        runtime.call("run", "-d", "--bundle", str(saved.bundle), "--console-socket", path, saved.name)
        master = receive()
    os.write(master, b"one\n")
    assert b"got-one" in read_until(master, b"got-one")
    saved.checkpoint()
    os.close(master)
    with console(runtime) as (path, receive):
        saved.restore("--console-socket", path)
        master = receive()
    size = fcntl.ioctl(master, termios.TIOCGWINSZ, b"\0" * 8)
    assert size[:4] == (33).to_bytes(2, "little") + (77).to_bytes(2, "little")
    os.write(master, b"two\n")
    assert b"got-two" in read_until(master, b"got-two")
    os.close(master)


def test_a_namespace_by_path_is_joined_again(runtime: Runtime) -> None:
    owner = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        path = f"/proc/{owner.pid}/ns/net"
        eventually(lambda: os.stat(path).st_ino != os.stat("/proc/self/ns/net").st_ino)

        def edit(config: dict[str, Any]) -> None:
            for namespace in config["linux"]["namespaces"]:
                if namespace["type"] == "network":
                    namespace["path"] = path

        saved = Saved(runtime, COUNT, edit).start()
        eventually(saved.file("n").exists)
        saved.checkpoint()
        saved.restore()
        pid = runtime.state(saved.name)["pid"]
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(path).st_ino
    finally:
        owner.kill()
        owner.wait()


def test_in_the_foreground_the_exit_code_is_the_containers(runtime: Runtime) -> None:
    saved = Saved(runtime, "touch /tmp/up; while [ ! -e /tmp/end ]; do sleep 0.5; done; exit 7").start()
    eventually(saved.file("up").exists)
    saved.checkpoint()
    saved.file("end").touch()
    paths = ("--bundle", str(saved.bundle), "--image-path", str(saved.images))
    ended = runtime.call("restore", *paths, saved.name, check=False)
    assert (ended.returncode, ended.stderr) == (7, "")
    assert runtime.leftovers() == []


def test_a_terminal_of_the_callers_is_refused_and_the_log_is_quoted(runtime: Runtime) -> None:
    saved = Saved(runtime, "touch /tmp/up; while :; do sleep 1; done")
    master, slave = os.openpty()
    command = [*runtime.command, "run", "-d", "--bundle", str(saved.bundle), saved.name]
    subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, check=True)
    eventually(saved.file("up").exists)
    log = runtime.directory / "log.json"
    words = ("--log", str(log), "--log-format", "json", "checkpoint", "--image-path", str(saved.images))
    failed = runtime.call(*words, saved.name, check=False)
    assert failed.returncode == 1
    assert "criu failed: type DUMP errno 0: Can't lookup mount" in failed.stderr
    assert "outside" in json.loads(log.read_text())["hint"]
    assert runtime.state(saved.name)["status"] == "running"
    os.close(master)
    os.close(slave)


def test_images_that_are_none_leave_nothing_behind(runtime: Runtime) -> None:
    saved = Saved(runtime, "true")
    missing = saved.restore(check=False)
    assert (missing.returncode, "no such file or directory" in missing.stderr) == (1, True)
    saved.images.mkdir()
    (saved.images / "descriptors.json").write_text('["/dev/null","/dev/null","/dev/null"]')
    failed = saved.restore(check=False)
    assert failed.returncode == 1
    assert "criu failed: type RESTORE" in failed.stderr
    assert runtime.leftovers() == []
