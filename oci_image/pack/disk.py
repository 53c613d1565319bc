"""A directory tree on disk, read into memory as the entries that would make it in a layer.

Every directory is opened relative to the one above it and no link is followed, so nothing outside of the
tree is ever read.  Sockets have no place in an archive and are left out.
"""

from __future__ import annotations

import errno
import os
import stat

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.metadata import is_dropped
from oci_image.layers.rootdir import show
from oci_image.layers.tar_header import Entry
from oci_image.layers.whiteouts import PREFIX
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oci_image.layers.metadata import Ownership
    from oci_image.layers.ownership import IdMap

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OWNER_NOTE = b"user.rootlesscontainers"
_CAPABILITY = b"security.capability"
_PIECE = 1 << 20
_KINDS = {
    stat.S_IFREG: tar_reader.REGULAR,
    stat.S_IFDIR: tar_reader.DIRECTORY,
    stat.S_IFLNK: tar_reader.SYMBOLIC_LINK,
    stat.S_IFCHR: tar_reader.CHARACTER_DEVICE,
    stat.S_IFBLK: tar_reader.BLOCK_DEVICE,
    stat.S_IFIFO: tar_reader.FIFO,
}


class Found(Entry):
    """What was found at one path; `name` is the path from the root.

    `owner_known` is false where a rootless tree cannot tell who owns it.  `inode` is 0 unless the file has
    other names.
    """

    __slots__ = ("children", "inode", "owner_known")

    children: dict[bytes, Found] | None
    inode: int
    owner_known: bool


class DiskTree:
    """A tree and its root's descriptor, which stays the caller's; `skipped` says what was left out of it."""

    def __init__(
        self, fd: int, ownership: Ownership, *, leaves_out: Callable[[bytes, bool], bool] | None = None
    ) -> None:
        """What `leaves_out` says true of, given a path and whether it is a directory, is not in the tree."""
        self.fd = fd
        self.ownership = ownership
        self.leaves_out = leaves_out
        self.skipped: list[str] = []
        self._device = 0

    def read(self) -> Found:
        """The whole tree; ImageError names the path that cannot be read or cannot be in a layer."""
        status = os.fstat(self.fd)
        self._device = status.st_dev
        root = self._found(b"", status, self.fd, b".")
        self._fill(root, self.fd)
        return root

    def read_one(self, name: bytes) -> Found:
        """What is at `name` in the root, without anything else; no directory.  Raises: ImageError."""
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            if stat.S_IFMT(status.st_mode) not in _KINDS or stat.S_ISDIR(status.st_mode):
                raise ImageError(
                    "is neither a file nor anything else that a layer can have", where=show(name)
                )
            return self._found(name, status, self.fd, name)
        except OSError as error:
            what = f"cannot read: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=f"path {show(name)}") from error

    def describe(self, path: bytes) -> Found | None:
        """What is at `path`, without what is in it; None if there is nothing, or not by directories alone."""
        from oci_image.layers.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

        parent, _, name = path.rpartition(b"/")
        try:
            parent_fd = openat2(self.fd, parent or b".", _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        try:
            status = os.stat(name or b".", dir_fd=parent_fd, follow_symlinks=False)
            return self._found(path, status, parent_fd, name or b".")
        except FileNotFoundError:
            return None
        finally:
            os.close(parent_fd)

    def _fill(self, directory: Found, directory_fd: int) -> None:
        directory.children = {}
        for text in sorted(os.listdir(directory_fd), key=os.fsencode):
            name = os.fsencode(text)
            path = directory.name + b"/" + name if directory.name else name
            try:
                if name.startswith(PREFIX) and not (self.leaves_out and self.leaves_out(path, False)):
                    raise ImageError("name means a whiteout in a layer", hint="rename or remove it")
                self._add(directory, directory_fd, name, path)
            except ImageError as error:
                if error.where:
                    raise
                raise ImageError(error.what, where=f"path {show(path)}", hint=error.hint) from error
            except OSError as error:
                what = f"cannot read: {errno_text(error.errno or 0)}"
                raise ImageError(what, where=f"path {show(path)}") from error

    def _add(self, directory: Found, directory_fd: int, name: bytes, path: bytes) -> None:
        status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        assert directory.children is not None
        if self.leaves_out is not None and self.leaves_out(path, stat.S_ISDIR(status.st_mode)):
            return
        if stat.S_ISSOCK(status.st_mode):
            self.skipped.append(os.fsdecode(path))
            return
        found = directory.children[name] = self._found(path, status, directory_fd, name)
        if found.kind == tar_reader.DIRECTORY:
            fd = os.open(name, _DIRECTORY, dir_fd=directory_fd)
            try:
                # A mount is not part of the tree: its mount point is.
                if os.fstat(fd).st_dev == self._device:
                    self._fill(found, fd)
                else:
                    found.children = {}
            finally:
                os.close(fd)

    def _found(self, path: bytes, status: os.stat_result, directory_fd: int, name: bytes) -> Found:
        found = Found()
        found.name = path
        found.kind = _KINDS[stat.S_IFMT(status.st_mode)]
        found.mode = stat.S_IMODE(status.st_mode)
        found.modification_time = status.st_mtime_ns
        found.children = None
        is_file = found.kind == tar_reader.REGULAR
        # Below an overlay numbers of inodes are unique together with their device only.
        has_names = status.st_nlink > 1 and found.kind != tar_reader.DIRECTORY
        found.inode = status.st_dev << 64 | status.st_ino if has_names else 0
        found.size = found.file_size = status.st_size if is_file else 0
        if found.kind == tar_reader.SYMBOLIC_LINK:
            found.link_name = os.readlink(name, dir_fd=directory_fd)
            found.mode = 0o777
        elif found.kind in (tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE):
            found.device_major, found.device_minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        xattrs = _read_xattrs(b"/proc/self/fd/%d/%s" % (directory_fd, name))
        self._set_owner(found, status, xattrs)
        found.xattrs = {
            key: _portable(key, value, self.ownership) for key, value in xattrs.items() if not is_dropped(key)
        }
        return found

    def _set_owner(self, found: Found, status: os.stat_result, xattrs: dict[bytes, bytes]) -> None:
        note = xattrs.pop(_OWNER_NOTE, b"")
        found.owner_known = True
        if not self.ownership.rootless:
            found.uid = to_container(self.ownership.uid_map, status.st_uid, "uid")
            found.gid = to_container(self.ownership.gid_map, status.st_gid, "gid")
            return
        found.uid, found.gid = decode_owner(note)
        found.owner_known = found.kind in (tar_reader.REGULAR, tar_reader.DIRECTORY)


def to_container(id_map: IdMap, host_id: int, kind: str) -> int:
    """The id in the container of a `host_id`; ImageError if the map does not have it."""
    if not id_map.ranges:
        return host_id
    for span in id_map.ranges:
        if span.host <= host_id < span.host + span.size:
            return span.container + host_id - span.host
    raise ImageError(f"owner has the {kind} {host_id}, which is not in the {kind} map of the bundle")


def decode_owner(message: bytes) -> tuple[int, int]:
    """Owner and group of a note that unpacking without root leaves: protocol buffers {1: uid, 2: gid}."""
    owner = [0, 0]
    position = 0
    while position < len(message):
        field_number = message[position] >> 3
        value = shift = 0
        while True:
            position += 1
            if position >= len(message) or field_number not in (1, 2) or shift > 28:
                raise ImageError("attribute user.rootlesscontainers is malformed")
            value |= (message[position] & 0x7F) << shift
            shift += 7
            if message[position] < 0x80:
                break
        owner[field_number - 1] = value
        position += 1
    return owner[0], owner[1]


def _read_xattrs(path: bytes) -> dict[bytes, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise
    return {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names}


def _portable(name: bytes, value: bytes, ownership: Ownership) -> bytes:
    """Capabilities that a user namespace has marked with its root become those of any root."""
    if name != _CAPABILITY or len(value) != 24 or value[3] != 3:
        return value
    root = int.from_bytes(value[20:24], "little")
    if ownership.rootless or (ownership.uid_map.ranges and root == ownership.uid_map.to_host(0, "uid")):
        return value[:3] + b"\x02" + value[4:20]
    return value


def open_found(root_fd: int, path: bytes) -> int:
    """Open a regular file of a tree that was read; no component is followed.  Raises OSError."""
    from oci_image.layers.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

    return openat2(root_fd, path, _FILE, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def find_segments(fd: int, size: int) -> list[tuple[int, int]] | None:
    """Where the data of a sparse file are, as (offset, length); None if it has no holes worth the map."""
    if os.fstat(fd).st_blocks * 512 + (64 << 10) > size:
        return None
    segments = []
    position = 0
    while position < size:
        try:
            begin = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        position = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        segments.append((begin, position - begin))
    return segments


def read_segments(fd: int, segments: list[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of the segments, in pieces; ends early if the file does."""
    for begin, length in segments:
        offset, end = begin, begin + length
        while offset < end:
            piece = os.pread(fd, min(end - offset, _PIECE), offset)
            if not piece:
                return
            yield piece
            offset += len(piece)
