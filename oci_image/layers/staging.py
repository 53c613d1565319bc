"""Directories in which something grows under a hidden name until it is whole.

A lock says that its maker lives.  The kernel drops it when the maker dies, however that happens, and the
next call removes what it finds unlocked.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat

from oci_image.layers.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DETACH = 2
_NO_FOLLOW = 8
_libc = ctypes.CDLL(None, use_errno=True)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_staging(parent_fd: int, name: str) -> tuple[str, int]:
    """Make a directory that will once be called `name`; its hidden name, and its descriptor with the lock.

    The lock is held as long as the descriptor is open.  Raises OSError.
    """
    while True:
        hidden = f".{name[:200]}.partial-{os.urandom(4).hex()}"
        os.mkdir(hidden, 0o700, dir_fd=parent_fd)
        try:
            fd = os.open(hidden, _DIRECTORY, dir_fd=parent_fd)
        except FileNotFoundError:
            continue  # taken for a dead one's before it could be locked
        if _lock(fd) and os.fstat(fd).st_nlink:
            return hidden, fd
        os.close(fd)


def clean_staging(
    parent_fd: int, content: frozenset[bytes] | None, *, before: Callable[[str, int], None] | None = None
) -> None:
    """Remove what dead makers left; only directories of ours, with nothing in them but `content`.

    Without `content` whatever is in them goes: the parent is a place that nobody else puts anything.
    `before` is called with the name and descriptor of each, to end what is still in use there.
    """
    with os.scandir(parent_fd) as found:
        names = [entry.name for entry in found if _is_staging(entry.name)]
    for name in names:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent_fd)
        except OSError:
            continue
        try:
            status = os.fstat(fd)
            ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700
            if ours and _lock(fd) and (content is None or _names(fd) <= content):
                if before is not None:
                    before(name, fd)
                _unmount(fd)
                remove_tree(parent_fd, os.fsencode(name), device=status.st_dev)
        except FileNotFoundError:
            pass  # another call was faster
        finally:
            os.close(fd)


def _names(fd: int) -> set[bytes]:
    return {os.fsencode(inside) for inside in os.listdir(fd)}


def _is_staging(name: str) -> bool:
    front, _, number = name.rpartition(".partial-")
    return len(front) > 1 and front[0] == "." and len(number) == 8


def remove_staging(parent_fd: int, hidden: str, fd: int) -> None:
    """Remove a directory of one's own that was not finished, and what is mounted in it."""
    _unmount(fd)
    remove_tree(parent_fd, os.fsencode(hidden), device=os.fstat(fd).st_dev)


def open_spool(directory_fd: int) -> int:
    """A file without a name on the file system of `directory_fd`, gone when it is closed."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    name = f"spool-{os.urandom(8).hex()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
    os.unlink(name, dir_fd=directory_fd)
    return fd


def _unmount(fd: int) -> None:
    """Unmount what a dead maker had mounted inside, so that the rest can be removed."""
    for name in os.listdir(fd):
        path = f"/proc/self/fd/{fd}/{name}"
        if os.stat(name, dir_fd=fd, follow_symlinks=False).st_dev != os.fstat(fd).st_dev:
            _libc.umount2(path.encode(), _DETACH | _NO_FOLLOW)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
