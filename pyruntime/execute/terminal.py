"""The terminal between a person and a container: console sockets, and the proxy of the foreground."""

import fcntl
import os
import select
import termios

from pyruntime.base.errors import HostError
from pyruntime.execute.sockets import connect_socket, receive_descriptor, socket_pair

_BLOCK = 1 << 14
# What poll(2) says is writable takes that much without blocking; a pipe promises no more than PIPE_BUF.
_SURE = 4096
# A pty holds less than this: whoever has still more to say after the process's end is another process.
_DRAINED = 1 << 18


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


def take_master(descriptor: int) -> int:
    """As `receive_master`, and closes the socket; the process will find our own terminal's size from the beginning."""
    try:
        master = receive_master(descriptor)
    finally:
        os.close(descriptor)
    terminal = own_terminal()
    if terminal >= 0:
        copy_size(terminal, master)
    return master


def copy_size(terminal: int, master: int) -> None:
    """Give one terminal the size of another."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(terminal, termios.TIOCGWINSZ, b"\0" * 8))


def own_terminal() -> int:
    """The first of the standard streams that is a terminal, or -1."""
    return next((descriptor for descriptor in range(3) if os.isatty(descriptor)), -1)


class TerminalProxy:
    """Copies between the standard streams and a pty's master; our own terminal is raw meanwhile.

    Nothing here blocks, whichever side stops reading: a process that writes while it does not read, and a reader
    that has paused our output, must hold up neither each other nor the signals that are passed on.
    """

    def __init__(self, master: int) -> None:
        os.set_blocking(master, False)
        self._master = master
        self._master_open = True
        self._input_open = True
        self._pending = b""
        self._output = b""
        self._output_open = True
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
            copy_size(self._terminal, self._master)

    def register(self, poll: "select.poll") -> None:
        """Say what is to be waited for now; each direction waits until what was read last has been written."""
        wanted = 0
        if self._master_open:
            wanted = (0 if self._output else select.POLLIN) | (select.POLLOUT if self._pending else 0)
        _wait_for(poll, self._master, wanted)
        _wait_for(poll, 0, select.POLLIN if self._input_open and not self._pending else 0)
        _wait_for(poll, 1, select.POLLOUT if self._output else 0)

    def copy(self, ready: dict[int, int]) -> None:
        """Move what can be moved."""
        if 1 in ready and self._output:
            self._write_output()
        if self._master in ready:
            if ready[self._master] & select.POLLOUT and self._pending:
                self._write_input()
            if ready[self._master] & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._output:
                self._read_output()
        if 0 in ready and self._input_open and not self._pending:
            data = _read(0)
            if not data:
                self._input_open = False
                # The end of a file is a character for a terminal: VEOF, as typed by a person.
                data = b"\x04"
            self._pending = data

    def _write_input(self) -> None:
        try:
            self._pending = self._pending[os.write(self._master, self._pending) :]
        except BlockingIOError:
            return  # room for less than poll(2) promises
        except OSError:
            self._pending = b""  # the other side is closed

    def _read_output(self) -> None:
        try:
            self._output = os.read(self._master, _BLOCK)
        except BlockingIOError:
            return
        except OSError:
            self._output = b""  # EIO: the other side is closed
        if not self._output:
            self._master_open = False
        elif not self._output_open:
            self._output = b""

    def _write_output(self) -> None:
        """Write what does not block; when nobody reads our output any more the process may still go on."""
        try:
            self._output = self._output[os.write(1, self._output[:_SURE]) :]
        except BlockingIOError:
            return
        except OSError:
            self._output, self._output_open = b"", False

    def drain(self) -> None:
        """Copy what the process left in the pty; others that hold it open are not waited for."""
        left = _DRAINED
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while left > 0:
            while self._output:
                self._write_output()
            if not self._master_open or not poll.poll(0):
                return
            self._read_output()
            left -= len(self._output)
        while self._output:
            self._write_output()

    def close(self) -> None:
        """Restore our own terminal."""
        if self._saved is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._saved)
        os.close(self._master)


def _wait_for(poll: "select.poll", descriptor: int, events: int) -> None:
    if events:
        poll.register(descriptor, events)
        return
    try:
        poll.unregister(descriptor)
    except KeyError:
        return


def _read(descriptor: int) -> bytes:
    """What is there to be read; nothing at the end."""
    try:
        return os.read(descriptor, _BLOCK)
    except OSError:
        return b""
