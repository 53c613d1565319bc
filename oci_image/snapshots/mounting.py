"""mount(2) and umount2(2), and whether something is mounted."""

from __future__ import annotations

import ctypes
import os

READ_ONLY = 1
NO_SUID = 2
NO_DEVICES = 4
DETACH = 2
_NO_FOLLOW = 8
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """Mount; raises OSError.  `options` has at most 4095 bytes."""
    encoded = [os.fsencode(text) for text in (source, target, kind, options)]
    if _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def unmount(target: str, *, detach: bool = False) -> None:
    """Unmount; a link at `target` is not followed.  Raises OSError: EINVAL where nothing is mounted."""
    if _libc.umount2(os.fsencode(target), _NO_FOLLOW | (DETACH if detach else 0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def is_mounted(path: str) -> bool:
    """Whether something is mounted on the directory `path`; False if it is not there."""
    try:
        return os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev
    except FileNotFoundError:
        return False


def escape(path: str) -> str:
    """A path as a value among overlay's options."""
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def in_initial_user_namespace() -> bool:
    """Whether root here is root of the machine."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() == ["0", "0", "4294967295"]
