"""Removing trees by descriptor, following nothing and crossing no mount.

shutil.rmtree is not used: it stops at directories that their owner may not write to or search, which
images have, and it crosses mounts.
"""

from __future__ import annotations

import errno
import os

from oci_image.errors import ImageError
from oci_image.layers.openat2 import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Without crossing mounts, which the number of the device does not tell: a bind mount has that of its source.
_RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS


def remove_tree(directory_fd: int, name: bytes, *, device: int) -> None:
    """Remove the directory `name` below `directory_fd` with its content.

    `device` is the device number it must lie on.  A tree that is deeper than the recursion limit is
    flattened on the way, so that no depth stops the removal.
    """
    fd = _open_directory(directory_fd, name)
    try:
        if os.fstat(fd).st_dev != device:
            raise _mounted()
        _empty(fd, fd, device, 0)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory_fd)


_MAX_NESTING = 100


def _empty(fd: int, top_fd: int, device: int, depth: int) -> None:
    for name, is_directory in _entries(fd):
        if not is_directory:
            os.unlink(name, dir_fd=fd)
        elif depth < _MAX_NESTING:
            child = _open_directory(fd, name)
            try:
                if os.fstat(child).st_dev != device:  # a subvolume
                    raise _mounted()
                _empty(child, top_fd, device, depth + 1)
            finally:
                os.close(child)
            os.rmdir(name, dir_fd=fd)
        else:
            _lift(fd, name, top_fd)
    if depth == 0 and _entries(fd):
        _empty(fd, top_fd, device, 0)


def _lift(fd: int, name: bytes, top_fd: int) -> None:
    """Move a deep directory up to the top, where the next round empties it."""
    os.close(_open_directory(fd, name))
    number = 0
    while True:
        try:
            os.rename(name, b"lifted-%d" % number, src_dir_fd=fd, dst_dir_fd=top_fd)
        except OSError:
            number += 1
            if number > 10_000:
                raise
        else:
            return


def _entries(fd: int) -> list[tuple[bytes, bool]]:
    with os.scandir(fd) as found:
        return [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in found]


def _open_directory(directory_fd: int, name: bytes) -> int:
    """Open a directory for removal, giving its owner the rights first if they lack."""
    try:
        fd = _open_here(directory_fd, name, _DIRECTORY)
        if os.geteuid() == 0 or os.fstat(fd).st_mode & 0o700 == 0o700:
            return fd
        os.fchmod(fd, 0o700)
    except PermissionError:
        # O_PATH needs no rights on the directory itself, and the link below /proc cannot be swapped.
        path_fd = _open_here(directory_fd, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.chmod(f"/proc/self/fd/{path_fd}", 0o700)
        finally:
            os.close(path_fd)
        return _open_here(directory_fd, name, _DIRECTORY)
    return fd


def _open_here(directory_fd: int, name: bytes, flags: int) -> int:
    try:
        return openat2(directory_fd, name, flags, _RESOLVE)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise _mounted() from None
        raise


def _mounted() -> ImageError:
    return ImageError("refusing to remove what is mounted below the root file system")
