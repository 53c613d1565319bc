"""Terminals: the console socket of a detached container, and a person's terminal in the foreground."""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import time
from typing import Any

import pytest

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


# --- the four modes: a terminal of its own or the caller's streams, in the foreground or detached ---


def test_passed_through_and_detached_the_streams_are_the_callers(runtime: Runtime) -> None:
    script = "cat; echo err >&2"
    bundle, name = runtime.bundle("sh", "-c", script), runtime.new_id()
    command = [*runtime.command, "run", "-d", "--bundle", str(bundle), name]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.wait(20) == 0, "it does not wait for the end of the process"
    # What is written now is read by the process itself, and its end is seen by it.
    out, err = process.communicate("late\n", timeout=20)
    assert (out, err) == ("late\n", "err\n")


def test_passed_through_in_the_foreground_the_end_of_input_gets_through(runtime: Runtime) -> None:
    bundle = runtime.bundle("sh", "-c", "cat; echo end; exit 3")
    command = [*runtime.command, "run", "--bundle", str(bundle), runtime.new_id()]
    done = subprocess.run(command, input="one\n", capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (3, "one\nend\n")


def test_in_the_foreground_a_grandchild_that_holds_the_output_is_not_waited_for(runtime: Runtime) -> None:
    def without_pid_namespace(config: dict[str, Any]) -> None:
        # In one the grandchild would die with the init.
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [space for space in spaces if space["type"] != "pid"]

    bundle = runtime.bundle("sh", "-c", "(sleep 40 &); echo done; exit 6", edit=without_pid_namespace)
    command = [*runtime.command, "run", "--bundle", str(bundle), runtime.new_id()]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        begun = time.monotonic()
        assert process.wait(20) == 6
        assert time.monotonic() - begun < 20
        assert process.stdout is not None
        assert process.stdout.read(5) == b"done\n"
    name = runtime.new_id()
    sleeper = runtime.bundle("sleep", "100")
    runtime.call("run", "-d", "--bundle", str(sleeper), name)
    with subprocess.Popen(
        [*runtime.command, "exec", name, "sh", "-c", "(sleep 40 &); exit 5"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.wait(20) == 5
        runtime.call("delete", "--force", name)


def test_exec_with_a_terminal_and_detached_sends_the_master(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    process = runtime.directory / "process.json"
    process.write_text(
        json.dumps(
            {
                "terminal": True, "consoleSize": {"height": 11, "width": 22}, "cwd": "/",
                "args": ["sh", "-c", "stty size; read x; echo got-$x"], "env": ["PATH=/bin"],
            }
        )
    )  # fmt: skip
    path = runtime.directory / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        words = ["exec", "--detach", "--process", str(process), "--console-socket", str(path), name]
        runtime.call(*words)
        connection, _ = listener.accept()
        with connection:
            _, (master,), _, _ = socket.recv_fds(connection, 64, 4)
    assert b"11 22" in read_until(master, b"11 22")
    os.write(master, b"word\n")
    assert b"got-word" in read_until(master, b"got-word")
    os.close(master)
    refused = runtime.call("exec", "--detach", "--process", str(process), name, check=False)
    assert refused.returncode == 255
    assert "without setting console socket" in refused.stderr


def window_size(descriptor: int, rows: int, columns: int) -> None:
    size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + b"\0" * 4
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_the_callers_terminal_gives_its_size_also_when_it_changes_and_gets_its_mode_back(
    runtime: Runtime, stream: int
) -> None:
    """Whichever of the standard streams is a terminal: stdin need not be one."""
    script = "stty size; while [ ! -e /tmp/go ]; do sleep 0.05; done; stty size; exit 8"
    bundle, name = runtime.bundle("sh", "-c", script, edit=with_terminal), runtime.new_id()
    master, slave = pty.openpty()
    window_size(slave, 41, 91)
    mode = termios.tcgetattr(slave)
    streams: list[Any] = [subprocess.DEVNULL, subprocess.PIPE, subprocess.DEVNULL]
    streams[stream] = slave
    command = [*runtime.command, "run", "--bundle", str(bundle), name]

    process = subprocess.Popen(command, stdin=streams[0], stdout=streams[1], stderr=streams[2])
    output = process.stdout.fileno() if process.stdout is not None else master
    assert b"41 91" in read_until(output, b"41 91")
    assert termios.tcgetattr(slave) != mode, "raw while it is copied"
    window_size(master, 42, 92)
    # The kernel tells only those whose controlling terminal it is.
    process.send_signal(signal.SIGWINCH)
    time.sleep(0.3)
    (bundle / "rootfs/tmp/go").touch()
    assert b"42 92" in read_until(output, b"42 92")
    assert process.wait(20) == 8
    assert termios.tcgetattr(slave) == mode
    os.close(master)
    os.close(slave)
    if process.stdout is not None:
        process.stdout.close()
