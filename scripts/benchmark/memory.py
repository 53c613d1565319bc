"""How much memory a command has when it ends: its process is stopped there and looked at (ptrace(2))."""

import ctypes
import os
from pathlib import Path

PTRACE_TRACEME = 0
PTRACE_CONT = 7
PTRACE_SETOPTIONS = 0x4200
PTRACE_O_TRACEEXIT = 0x40
EXIT_STOP = 5 | 6 << 8  # SIGTRAP, PTRACE_EVENT_EXIT
SIGTRAP = 5

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def memory_at_the_end(words: list[str]) -> dict[str, int]:
    """Run a command; its peak resident memory (VmHWM) and its private memory (RssAnon) in KiB.

    Threads but the first, and other processes of the command, are not followed.
    """
    pid = os.fork()
    if pid == 0:
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        _libc.ptrace(PTRACE_TRACEME, 0, None, None)
        os.execv(words[0], words)
    os.waitpid(pid, 0)
    _libc.ptrace(PTRACE_SETOPTIONS, pid, None, PTRACE_O_TRACEEXIT)
    _libc.ptrace(PTRACE_CONT, pid, None, None)
    sizes: dict[str, int] = {}
    while True:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return sizes
        signal = os.WSTOPSIG(status)
        if status >> 8 == EXIT_STOP:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                name, *rest = line.split()
                if name in ("VmHWM:", "RssAnon:"):
                    sizes[name.rstrip(":")] = int(rest[0])
        _libc.ptrace(PTRACE_CONT, pid, None, 0 if signal == SIGTRAP else signal)
