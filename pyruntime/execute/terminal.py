"""The terminal between a person and a container: console sockets, and the proxy of the foreground."""

import fcntl
import os
import select
import termios

from pyruntime.base.errors import HostError
from pyruntime.execute.sockets import connect_socket, receive_descriptor, socket_pair

_BLOCK = 1 << 14


def connect_console_socket(path: str) -> int:
    """Connect to the socket that wants the pty's master; returns the descriptor.

    Raises:
        HostError: nobody listens there.
    """
    hint = "start the program that receives the terminal first"
    return connect_socket(path, what="the console socket", hint=hint)


def console_pair() -> tuple[int, int]:
    """Two connected sockets: one to receive the master from, one for the executor."""
    return socket_pair()


def receive_master(descriptor: int) -> int:
    """The pty's master, sent by the executor over a socket of `console_pair`."""
    master = receive_descriptor(descriptor)
    if master < 0:
        raise HostError("no terminal came over the console socket", hint="this is a bug: please report it")
    return master


def own_terminal() -> int:
    """The first of the standard streams that is a terminal, or -1."""
    return next((descriptor for descriptor in range(3) if os.isatty(descriptor)), -1)


class TerminalProxy:
    """Copies between the standard streams and a pty's master; our own terminal is raw meanwhile."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._master_open = True
        self._input_open = True
        self._pending = b""
        self._terminal = own_terminal()
        self._saved = termios.tcgetattr(self._terminal) if self._terminal >= 0 else None
        if self._saved is not None:
            self._make_raw()
        self.resize()

    def _make_raw(self) -> None:
        """cfmakeraw(3)."""
        mode = termios.tcgetattr(self._terminal)
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self._terminal, termios.TCSANOW, mode)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if self._terminal >= 0:
            size = fcntl.ioctl(self._terminal, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def register(self, poll: "select.poll") -> None:
        """Say what is to be waited for now; input waits until the last one was taken."""
        if self._master_open:
            poll.register(self._master, select.POLLIN | (select.POLLOUT if self._pending else 0))
        else:
            _unregister(poll, self._master)
        if self._input_open and not self._pending:
            poll.register(0, select.POLLIN)
        else:
            _unregister(poll, 0)

    def copy(self, ready: dict[int, int]) -> None:
        """Move what can be moved."""
        if self._master in ready:
            if ready[self._master] & select.POLLOUT:
                self._pending = self._pending[os.write(self._master, self._pending) :]
            if ready[self._master] & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._copy_output()
        if 0 in ready and self._input_open and not self._pending:
            data = _read(0)
            if not data:
                self._input_open = False
                # The end of a file is a character for a terminal: VEOF, as typed by a person.
                data = b"\x04"
            self._pending = data

    def _copy_output(self) -> None:
        data = _read(self._master)
        if not data:
            self._master_open = False
        while data:
            data = data[os.write(1, data) :]

    def drain(self) -> None:
        """Copy what the pty still holds, and wait for no more."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while self._master_open and poll.poll(0):
            self._copy_output()

    def close(self) -> None:
        """Restore our own terminal."""
        if self._saved is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._saved)
        os.close(self._master)


def _unregister(poll: "select.poll", descriptor: int) -> None:
    try:
        poll.unregister(descriptor)
    except KeyError:
        return


def _read(descriptor: int) -> bytes:
    """What is there to be read; nothing at the end, also when the pty's other side is closed (EIO)."""
    try:
        return os.read(descriptor, _BLOCK)
    except OSError:
        return b""
