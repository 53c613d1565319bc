"""config.md, process.terminal, and the console socket over which callers get the other end."""

import contextlib
import json
import os
import pty
import select
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.container import Container
from conformance.expect import BrokenError, expect, expect_equal
from conformance.requirement import Subject

SUBJECT = Subject("terminal")
ANCHOR = "config.md#process"
DEFAULTS = "config-linux.md#default-devices"
SECONDS = 15.0
TERMINAL = {"/process/terminal": True}


class Console:
    """The caller's end: a socket that gets the master of a pseudoterminal, and what is read from that."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(path)
        self.server.listen(1)
        self.server.settimeout(SECONDS)
        self.name, self.descriptors = b"", list[int]()

    def receive(self) -> int:
        """The master."""
        try:
            connection, _ = self.server.accept()
        except TimeoutError:
            raise BrokenError("nobody connected to the console socket") from None
        with connection:
            connection.settimeout(SECONDS)
            self.name, found, _, _ = socket.recv_fds(connection, 4096, 4)
        self.descriptors += found
        expect_equal(len(found), 1, "descriptors that came over the console socket")
        return found[0]

    def close(self) -> None:
        self.server.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@contextlib.contextmanager
def console(bench: Bench) -> Iterator[Console]:
    found = Console(f"{bench.directory}/console.sock")
    try:
        yield found
    finally:
        found.close()


def read_all(master: int) -> str:
    """What comes until the other end is closed."""
    content = b""
    end = time.monotonic() + SECONDS
    while select.select([master], [], [], max(end - time.monotonic(), 0))[0]:
        try:
            part = os.read(master, 1 << 16)
        except OSError:  # EIO: nobody has the other end
            break
        if not part:
            break
        content += part
        if content.endswith(b'"end": true}\r\n'):
            break
    return content.decode("latin-1")


def report_on(master: int) -> JsonObject:
    text = read_all(master)
    try:
        found: JsonObject = json.loads(text)
    except json.JSONDecodeError:
        raise BrokenError(f"what came over the terminal is no report: {text[:300]!r}") from None
    return found


def on_console(bench: Bench, found: Console, changes: JsonObject, *questions: str) -> tuple[Container, int]:
    container = bench.container({**TERMINAL, **changes}, *questions)
    container.create("--console-socket", found.path)
    return container, found.receive()


@SUBJECT.must("streams", ANCHOR, "With terminal the three standard streams are a terminal.")
def streams(bench: Bench) -> None:
    with console(bench) as found:
        container, master = on_console(bench, found, {}, "tty:0", "tty:1", "tty:2")
        container.start()
        seen = report_on(master)
        expect_equal([seen[f"tty:{number}"] for number in (0, 1, 2)], [1, 1, 1], "streams that are terminals")


@SUBJECT.must("none", ANCHOR, "Without terminal none of them is made one.")
def no_terminal(bench: Bench) -> None:
    seen = bench.look({}, "tty:0", "tty:1", "tty:2")
    expect_equal([seen[f"tty:{number}"] for number in (0, 1, 2)], [0, 0, 0], "streams that are terminals")


@SUBJECT.must("size", ANCHOR, "consoleSize is the size of the terminal.")
def size(bench: Bench) -> None:
    with console(bench) as found:
        container, master = on_console(
            bench, found, {"/process/consoleSize": {"height": 17, "width": 61}}, "size:0"
        )
        container.start()
        expect_equal(report_on(master)["size:0"], [17, 61], "rows and columns")


@SUBJECT.must("console", DEFAULTS, "With terminal /dev/console is the terminal.")
def dev_console(bench: Bench) -> None:
    with console(bench) as found:
        container, master = on_console(
            bench, found, {}, "stat:/dev/console", "link:/proc/self/fd/0", "open:/dev/tty"
        )
        container.start()
        seen = report_on(master)
        expect_equal(seen["stat:/dev/console"].get("major"), 136, "major number of /dev/console")
        expect(
            "result" in seen["open:/dev/tty"], f"opening the controlling terminal: {seen['open:/dev/tty']}"
        )


@SUBJECT.callers("name", "The message of the console socket names the terminal.")
def name(bench: Bench) -> None:
    with console(bench) as found:
        on_console(bench, found, {})
        expect(bool(found.name), "the message is empty")


@SUBJECT.callers("own-devpts", "The terminal is one of the container's own /dev/pts.")
def own_devpts(bench: Bench) -> None:
    with console(bench) as found:
        container, master = on_console(bench, found, {}, "link:/proc/self/fd/0", "stat:/dev/pts/0")
        container.start()
        seen = report_on(master)
        expect_equal(seen["link:/proc/self/fd/0"], "/dev/pts/0", "standard input")


@SUBJECT.callers("owner", "The terminal belongs to the container's user.")
def owner(bench: Bench) -> None:
    with console(bench) as found:
        changes = {"/process/user": {"uid": 7, "gid": 8}}
        container, master = on_console(bench, found, changes, "stat:/dev/pts/0", "open:/dev/pts/0")
        container.start()
        seen = report_on(master)
        expect_equal(seen["stat:/dev/pts/0"].get("uid"), 7, "owner of the terminal")


@SUBJECT.callers("needed", "Create with terminal and without a console socket is an error.")
def socket_needed(bench: Bench) -> None:
    bench.refused(TERMINAL)


@SUBJECT.callers("not-needed", "A console socket without terminal is an error.")
def socket_not_needed(bench: Bench) -> None:
    with console(bench) as found:
        container = bench.container({})
        words = ("create", "--bundle", container.bundle, "--console-socket", found.path, container.identifier)
        expect(container.command(*words).returncode != 0, "`create` took a console socket for nothing")


@SUBJECT.callers("exec", "`exec --tty --console-socket` gives a process a terminal of its own.")
def exec_terminal(bench: Bench) -> None:
    with console(bench) as found:
        container = bench.running({})
        words = ("exec", "--tty", "--detach", "--console-socket", found.path, container.identifier)
        result = container.command(*words, "/probe", "tty:0", "tty:2")
        expect_equal(result.returncode, 0, f"exit status ({result.stderr.strip()[-200:]})")
        seen = report_on(found.receive())
        expect_equal((seen["tty:0"], seen["tty:2"]), (1, 1), "streams that are terminals")


@SUBJECT.callers("foreground", "`run` on a terminal passes it on, with its size.")
def foreground(bench: Bench) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 77, 0, 0))
    # Runtimes set the size when they have the terminal, which may be after the program has started.
    container = bench.container(TERMINAL, "tty:0", "sleep:1", "size:0")
    words = bench.words("run", "--bundle", container.bundle, container.identifier)
    try:
        process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        seen = report_on(master)
        process.wait(timeout=20)
    finally:
        os.close(master)
    expect_equal(seen["tty:0"], 1, "standard input is a terminal")
    expect_equal(seen["size:0"], [21, 77], "rows and columns")
