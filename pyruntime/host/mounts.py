"""Mounts in the runtime's own mount namespace: those of a container that has none for itself."""

import os
import sys

from pyruntime.host.cgroups import unescape

_MNT_DETACH = 2


def mounts_on(directory: str) -> int:
    """How many mounts lie on top of each other on a directory."""
    real = os.path.realpath(directory)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return sum(unescape(line.split(" ")[4]) == real for line in lines)


def mount_point_of(kind: str) -> str:
    """Where a file system of this kind is mounted, or "" if it is nowhere."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            if after.split(" ", 1)[0] == kind:
                return unescape(before.split(" ")[4])
    return ""


def unmount_to(directory: str, count: int) -> None:
    """Unmount what is on a directory, with all below it, until only so many mounts are left there.

    Raises:
        OSError: the kernel refuses.
    """
    # Counted anew each time: where mounts are shared, one call may take several away.
    while mounts_on(directory) > count:
        _unmount(directory)


def _unmount(path: str) -> None:
    if "pyruntime_launcher" in sys.modules:
        sys.modules["pyruntime_launcher"].unmount(os.fsencode(path), _MNT_DETACH)
        return
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.umount2(os.fsencode(path), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
