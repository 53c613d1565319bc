"""Spawn a process in another directory: posix_spawn(3) as Python has it cannot change to one."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_FS = 0x200


def spawn_in(directory: str, spawn: "Callable[[], int]") -> int:
    """Call `spawn` with `directory` as the working directory; returns what it returns, a pid.

    The working directory belongs to all threads of a process.  Where there are others (the caller uses this as a
    library), a thread with a working directory of its own does it, so that nobody else's path changes its meaning.

    Raises:
        OSError: there is no such directory, or `spawn` raises it.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        return _spawn_in_thread(directory, spawn)
    previous = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        return spawn()
    finally:
        os.fchdir(previous)
        os.close(previous)


def _spawn_in_thread(directory: str, spawn: "Callable[[], int]") -> int:
    import threading

    pids: list[int] = []
    failures: list[OSError] = []

    def work() -> None:
        try:
            _unshare_working_directory()
            os.chdir(directory)
            pids.append(spawn())
        except OSError as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return pids[0]


def _unshare_working_directory() -> None:
    """unshare(2) with CLONE_FS, for this thread."""
    if hasattr(os, "unshare"):
        os.unshare(_CLONE_FS)
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_FS) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
