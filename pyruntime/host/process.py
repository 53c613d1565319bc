"""Processes named without doubt: by pid and start time, and signalled through a pidfd."""

import os
import select

from pyruntime.base.errors import HostError, errno_text
from pyruntime.base.files import read_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

_ENDED = ("Z", "X", "x")
# More than the fields up to the start time can take.
_STAT_SIZE = 1000


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if it has ended."""
    if pid <= 0:
        return 0
    try:
        text = read_once(f"/proc/{pid}/stat", _STAT_SIZE)
    except OSError:
        return 0
    return parse_start_time(text.decode("utf-8", "surrogateescape"))


def parse_start_time(stat: str) -> int:
    """Field 22 of /proc/PID/stat; 0 for a zombie.  The name may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split(None, 20)
    if len(fields) < 20 or fields[0] in _ENDED:
        return 0
    return int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether the process `pid` that started at `started` is still there and not a zombie."""
    return pid > 0 and started > 0 and start_time(pid) == started


def open_process(pid: int, started: int) -> int:
    """A pidfd of the process that started at `started`, which the caller closes.

    Raises:
        ProcessLookupError: it has ended, or another process has its pid now.
    """
    if pid <= 0:
        raise ProcessLookupError(f"no process {pid}")
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        raise ProcessLookupError(f"no process {pid}") from None
    # Checked after the opening: the pidfd stays with the process that was checked.
    if not is_alive(pid, started):
        os.close(descriptor)
        raise ProcessLookupError(f"process {pid} is another one")
    return descriptor


def signal_process(descriptor: int, number: int) -> None:
    """Send a signal to the process behind a pidfd.

    Raises:
        ProcessLookupError: it has ended.
        HostError: it belongs to somebody else.
    """
    try:
        _signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        raise
    except OSError as error:
        raise HostError(f"cannot send signal {number}: {errno_text(error.errno or 0)}") from None


def wait_for_end(descriptor: int, milliseconds: int) -> bool:
    """Wait until the process behind a pidfd has ended (a zombie counts); False if the time ran out."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def end_process(pid: int, started: int, *, patience_ms: int = 0) -> None:
    """Kill a process if it is still the one that started at `started`; wait for its end, but no longer than this."""
    try:
        descriptor = open_process(pid, started)
    except ProcessLookupError:
        return
    try:
        signal_process(descriptor, 9)
        if patience_ms:
            wait_for_end(descriptor, patience_ms)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
