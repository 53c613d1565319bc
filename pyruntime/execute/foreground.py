"""In the foreground: wait for a container's process, pass signals on, and copy its terminal."""

import os
import select
import sys

from pyruntime.host.process import signal_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from pyruntime.execute.terminal import TerminalProxy
else:
    import _signal

# Signals that are about this process, not about the container's: SIGURG, and SIGWINCH, which is the terminal's.
_NOT_FORWARDED = {23, 28}
# Left as they are: those that cannot be caught, SIGCHLD, SIGPIPE (our own output was closed), and the faults ILL,
# TRAP, BUS, FPE, SEGV and SYS.  After a fault of our own the faulting instruction would run again, for ever.
_NOT_CAUGHT = {4, 5, 7, 8, 9, 11, 13, 17, 19, 31, 32, 33}
_SIGWINCH = 28
_CAUGHT = bytes(number for number in range(1, 65) if number not in _NOT_CAUGHT)


def become_subreaper() -> None:
    """Let orphans below this process become its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if "pyruntime_launcher" in sys.modules:
        sys.modules["pyruntime_launcher"].become_subreaper()
        return
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


class SignalForwarding:
    """While open, signals to this process arrive on a pipe instead of acting on it."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous: "list[tuple[int, Any]]" = []
        if "pyruntime_launcher" in sys.modules:
            sys.modules["pyruntime_launcher"].forward_signals(_CAUGHT, self._writer)
            return
        _signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _CAUGHT:
            try:
                self._previous.append((number, _signal.signal(number, _ignore)))
            except (OSError, ValueError):
                continue  # one that this libc keeps for itself

    def received(self) -> bytes:
        """The numbers of the signals that have come in."""
        return os.read(self.reader, 64)

    def close(self) -> None:
        """Give every signal its former handler back; a second call does nothing."""
        if self.reader < 0:
            return
        if "pyruntime_launcher" in sys.modules:
            sys.modules["pyruntime_launcher"].forward_signals(_CAUGHT, -1)
        else:
            for number, handler in self._previous:
                if handler is not None:
                    _signal.signal(number, handler)
            _signal.set_wakeup_fd(-1)
        os.close(self.reader)
        os.close(self._writer)
        self.reader = self._writer = -1


def _ignore(_number: int, _frame: object) -> None:
    """The wakeup descriptor carries the signal; the handler only keeps the default from acting."""


def wait_in_foreground(pid: int, signals: SignalForwarding, *, master: int = -1) -> int:
    """Wait for a child that is a container's process; returns its exit code, or 128 + the signal that killed it.

    Signals to this process are passed on.  With `master`, the master of the process's pty, our own terminal is put
    into raw mode and copied both ways.  Output is drained when the process has ended, without waiting for children
    in the background that hold the terminal open.
    """
    pidfd = os.pidfd_open(pid)
    proxy = None
    if master >= 0:
        from pyruntime.execute.terminal import TerminalProxy

        proxy = TerminalProxy(master)
    try:
        _watch(pidfd, signals, proxy)
        if proxy is not None:
            proxy.drain()
    finally:
        if proxy is not None:
            proxy.close()
        os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 128 - code if code < 0 else code


def _watch(pidfd: int, signals: SignalForwarding, terminal: "TerminalProxy | None") -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(signals.reader, select.POLLIN)
    while True:
        if terminal is not None:
            terminal.register(poll)
        ready = dict(poll.poll())
        if signals.reader in ready:
            for number in signals.received():
                if number == _SIGWINCH and terminal is not None:
                    terminal.resize()
                elif number not in _NOT_FORWARDED:
                    _forward(pidfd, number)
        if terminal is not None:
            terminal.copy(ready)
        if pidfd in ready:
            return


def _forward(pidfd: int, number: int) -> None:
    try:
        signal_process(pidfd, number)
    except ProcessLookupError:
        return  # it has just ended, which is seen next
