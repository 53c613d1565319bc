"""Terminals: the console socket of a detached container, and a person's terminal in the foreground."""

import os
import pty
import select
import socket
import subprocess
import time
from typing import Any

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


def with_terminal(config: dict[str, Any]) -> None:
    config["process"]["terminal"] = True
    config["process"]["consoleSize"] = {"height": 33, "width": 77}


def read_until(descriptor: int, wanted: bytes, seconds: float = 15) -> bytes:
    data = b""
    deadline = time.monotonic() + seconds
    while wanted not in data:
        assert time.monotonic() < deadline, data
        if select.select([descriptor], [], [], 0.1)[0]:
            try:
                more = os.read(descriptor, 4096)
            except OSError:
                break
            if not more:
                break
            data += more
    return data


def test_the_console_socket_gets_the_master(runtime: Runtime) -> None:
    bundle, name = (
        runtime.bundle("sh", "-c", "tty; stty size; read x; echo got-$x", edit=with_terminal),
        runtime.new_id(),
    )
    path = runtime.directory / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        runtime.call("create", "--bundle", str(bundle), "--console-socket", str(path), name)
        connection, _ = listener.accept()
        with connection:
            message, descriptors, _, _ = socket.recv_fds(connection, 64, 4)
    assert message.startswith(b"/dev/pts/")
    assert len(descriptors) == 1
    master = descriptors[0]
    runtime.call("start", name)
    assert b"33 77" in read_until(master, b"33 77")
    os.write(master, b"word\n")
    assert b"got-word" in read_until(master, b"got-word")
    os.close(master)


def test_a_terminal_without_a_socket_is_refused(runtime: Runtime) -> None:
    bundle = runtime.bundle("true", edit=with_terminal)
    failed = runtime.call("create", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert failed.returncode == 1
    assert "without setting console socket" in failed.stderr
    assert runtime.leftovers() == []


def test_foreground_in_a_terminal(runtime: Runtime) -> None:
    script = "tty; read x; echo got-$x; exit 5"
    bundle, name = runtime.bundle("sh", "-c", script, edit=with_terminal), runtime.new_id()
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*runtime.command, "run", "--bundle", str(bundle), name], stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    assert b"/dev/pts/0" in read_until(master, b"/dev/pts/0")
    os.write(master, b"word\r")
    assert b"got-word" in read_until(master, b"got-word")
    assert process.wait(20) == 5
    os.close(master)


def test_foreground_without_a_terminal_of_its_own_does_not_hang(runtime: Runtime) -> None:
    bundle = runtime.bundle("sh", "-c", "sleep 50 & tty; exit 4", edit=with_terminal)
    done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert (done.returncode, done.stdout.strip()) == (4, "/dev/pts/0")


def test_exec_with_a_terminal(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    done = runtime.call("exec", "--tty", name, "sh", "-c", "tty; exit 6", check=False)
    assert (done.returncode, done.stdout.strip()) == (6, "/dev/pts/0")


def test_a_process_that_writes_much_and_reads_nothing_is_not_held_up_by_its_input(runtime: Runtime) -> None:
    script = "stty raw -echo; echo begin; sleep 0.3; cat /bin/busybox; echo end; exit 7"
    bundle = runtime.bundle("sh", "-c", script, edit=with_terminal)
    source = runtime.directory / "input"
    source.write_bytes(b"x" * 1_000_000)
    with source.open() as stdin, (runtime.directory / "output").open("wb+") as stdout:
        code = subprocess.run(
            [*runtime.command, "run", "--bundle", str(bundle), runtime.new_id()],
            stdin=stdin, stdout=stdout, timeout=30, check=False,
        ).returncode  # fmt: skip
        stdout.seek(0)
        written = stdout.read()
    assert code == 7
    assert b"begin" in written
    assert written.endswith(b"end\n")
    assert len(written) > (bundle / "rootfs/bin/busybox").stat().st_size


def test_a_reader_that_goes_away_ends_neither_the_process_nor_its_clean_up(runtime: Runtime) -> None:
    script = "echo begin; sleep 0.3; cat /bin/busybox; exit 9"
    bundle = runtime.bundle("sh", "-c", script, edit=with_terminal)
    process = subprocess.Popen(
        [*runtime.command, "run", "--bundle", str(bundle), runtime.new_id()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(5) == b"begin"
    process.stdout.close()
    assert process.wait(20) == 9
    assert runtime.leftovers() == []


def test_signals_are_passed_on_while_nobody_reads_the_output(runtime: Runtime) -> None:
    script = "trap 'touch /tmp/got' TERM; echo begin; (while :; do cat /bin/busybox; done) &"
    script += " while :; do sleep 0.1; done"
    bundle, name = runtime.bundle("sh", "-c", script, edit=with_terminal), runtime.new_id()
    process = subprocess.Popen(
        [*runtime.command, "run", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"begin"
        time.sleep(0.5)
        process.terminate()
        deadline = time.monotonic() + 10
        while not (bundle / "rootfs/tmp/got").exists():
            assert time.monotonic() < deadline, "the signal did not get through"
            time.sleep(0.02)
        process.stdout.close()
        runtime.call("kill", name, "KILL")
        assert process.wait(20) == 137
