"""The one door to a root file system that is being made.

Every parent directory is resolved by openat2(RESOLVE_IN_ROOT), so links and ".." cannot lead out of the
root; everything else acts on the last name of a path, relative to a descriptor of its parent, and never
follows it.  No path of the host is ever put together.
"""

from __future__ import annotations

import errno
import os

from oci_image.errors import ImageError
from oci_image.layers.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_MAX_OPEN = 200  # descriptors kept; the usual limit of a process is 1024
_LINK_MAX_PATH = 4000  # bytes that openat2 takes in one go, less than PATH_MAX


class Directory:
    """An open directory inside the root; `inode` tells it from all others, since mounts are not crossed."""

    __slots__ = ("fd", "inode")

    def __init__(self, fd: int, inode: int) -> None:
        self.fd = fd
        self.inode = inode


class RootDirectory:
    """A root file system by one descriptor that is held as long as it is being worked on."""

    def __init__(self, fd: int) -> None:
        """`fd` stays the caller's."""
        status = os.fstat(fd)
        self.fd = fd
        self.device = status.st_dev
        self.root = Directory(fd, status.st_ino)
        self._open: dict[bytes, Directory] = {}

    def close(self) -> None:
        """Close the directories that were kept open."""
        opened, self._open = self._open, {}
        for directory in opened.values():
            os.close(directory.fd)

    def directory(self, path: bytes) -> Directory:
        """The directory `path` (names joined by '/', b"" for the root), links resolved inside the root.

        Valid until the next call of `directory` or `close`.  Raises OSError.
        """
        if not path:
            return self.root
        found = self._open.get(path)
        if found is not None:
            return found
        if len(path) > _LINK_MAX_PATH:
            parent, _, name = path.rpartition(b"/")
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory(parent).fd)
        else:
            fd = openat2(self.fd, path, _DIRECTORY, _RESOLVE)
        return self._keep(path, fd)

    def _keep(self, path: bytes, fd: int) -> Directory:
        status = os.fstat(fd)
        if status.st_dev != self.device:
            os.close(fd)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if len(self._open) >= _MAX_OPEN:
            self.close()
        directory = self._open[path] = Directory(fd, status.st_ino)
        return directory

    def open_file(self, path: bytes, flags: int) -> int:
        """Open an existing path inside the root, all links resolved inside it; raises OSError."""
        return openat2(self.fd, path, flags, _RESOLVE)


def split_name(name: bytes, *, what: str = "name", depth: int = 1000, component: int = 255) -> list[bytes]:
    """The components of a name from an archive: "./a//b/" and "/a/b" are both [a, b]; the root is [].

    "..", zero bytes and components that no file system takes are refused.
    """
    parts = name.split(b"/")
    if not all(parts) or b"." in parts:
        parts = [part for part in parts if part and part != b"."]
    if b".." in parts:
        raise ImageError(f"{what} {show(name)} has a '..'")
    if b"\0" in name:
        raise ImageError(f"{what} {show(name)} has a zero byte")
    if len(parts) > depth:
        raise ImageError(f"{what} has {len(parts)} components, more than {depth}")
    if len(name) > component and any(len(part) > component for part in parts):
        raise ImageError(f"{what} {show(name)} has a component longer than {component} bytes")
    return parts


def show(name: bytes) -> str:
    """A name for messages: quoted, cut, without control characters."""
    text = name[:200].decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return f"'{text}'" + ("..." if len(name) > 200 else "")
