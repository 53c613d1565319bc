"""Putting files and trees into a root file system that has something already.

Everything goes through the one door to that root; what is there is replaced, not written into, and a
directory is merged with what is there.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from oci_image.build.paths import canonical_path
from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.metadata import MetadataWriter, Ownership
from oci_image.layers.rootdir import RootDirectory, show
from oci_image.layers.tar_header import Entry
from oci_image.pack.disk import Found, find_segments, open_found
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from oci_image.build.sources import Source

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20


class Placer:
    """Copies sources below the root `root_fd`.

    `owner` and `mode` are what all that is copied or made gets; None leaves the source's.  Directories that
    are missing on the way are made with the time `now`, in nanoseconds.
    """

    def __init__(
        self, root_fd: int, *, owner: tuple[int, int] | None = None, mode: int | None = None, now: int
    ) -> None:
        self._door = RootDirectory(root_fd)
        self._owner = owner
        self._mode = mode
        self._now = now
        self._metadata = MetadataWriter(Ownership())
        self._first_names: dict[int, tuple[bytes, bytes]] = {}

    def close(self) -> None:
        """Close the directories that were kept open."""
        self._door.close()

    def real_path(self, path: bytes) -> bytes:
        """The path without links in it, also where it leads to nothing yet."""
        return os.fsencode(canonical_path(self._door.fd, os.fsdecode(path))[0])

    def is_directory(self, path: bytes) -> bool:
        """Whether `path` leads to a directory."""
        try:
            self._door.directory(path)
        except OSError:
            return False
        return True

    def make_directory(self, path: bytes) -> None:
        """Make the directory `path` and its parents, where they are missing; ImageError."""
        path = self.real_path(path)
        parts = path.split(b"/") if path else []
        for count in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:count])
            try:
                self._door.directory(prefix)
            except FileNotFoundError:
                entry = Entry()
                entry.kind, entry.mode, entry.modification_time = tar_reader.DIRECTORY, 0o755, self._now
                entry.uid, entry.gid = self._owner or (0, 0)
                self._new_directory(b"/".join(parts[: count - 1]), parts[count - 1], entry)
            except OSError as error:
                raise _refused(error, prefix) from error

    def place(self, source: Source, destination: bytes) -> None:
        """Copy a source to the path `destination`, a directory's content into it; ImageError names the path."""
        self._first_names.clear()
        parent, _, name = destination.rpartition(b"/")
        parent = self.real_path(parent)
        destination = self.real_path(destination) if source.is_directory else b"/".join(filter(None, (parent, name)))
        if source.is_directory:
            # The content is copied, not the directory: one that is not there yet is made as any other.
            self.make_directory(destination)
            self._content(source, source.found, destination)
        else:
            self.make_directory(parent)
            self._one(source, source.found, parent, name)

    def _content(self, source: Source, found: Found, path: bytes) -> None:
        for name, child in (found.children or {}).items():
            below = path + b"/" + name if path else name
            if child.kind == tar_reader.DIRECTORY:
                self._directory(source, child, below)
            else:
                self._one(source, child, path, name)

    def _directory(self, source: Source, found: Found, path: bytes) -> None:
        """A directory and all that is in it; one that is there gets the source's attributes."""
        try:
            self._door.directory(path)
        except FileNotFoundError:
            parent, _, name = path.rpartition(b"/")
            self._new_directory(parent, name, None)
        except OSError as error:
            raise _refused(error, path) from error
        self._content(source, found, path)
        with _Naming(path):
            self._metadata.by_descriptor(
                self._door.directory(path).fd, self._changed(found), created_mode=-1
            )

    def _new_directory(self, parent: bytes, name: bytes, entry: Entry | None) -> None:
        path = parent + b"/" + name if parent else name
        with _Naming(path):
            os.mkdir(name, 0o755, dir_fd=self._door.directory(parent).fd)
            if entry is not None:
                self._metadata.by_descriptor(self._door.directory(path).fd, entry, created_mode=-1)

    def _one(self, source: Source, found: Found, parent: bytes, name: bytes) -> None:
        """Anything but a directory; replaces what is there, unless that is a directory."""
        path = parent + b"/" + name if parent else name
        with _Naming(path):
            directory = self._door.directory(parent).fd
            try:
                if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    raise ImageError("cannot replace a directory by a file", where=f"path {show(path)}")
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                pass
            if found.inode and (first := self._first_names.setdefault(found.inode, (parent, name))) != (
                parent,
                name,
            ):
                self._link(first, parent, name)
            elif found.kind == tar_reader.REGULAR:
                self._file(source, found, directory, name)
            else:
                self._other(found, directory, name)

    def _link(self, first: tuple[bytes, bytes], parent: bytes, name: bytes) -> None:
        old = os.dup(self._door.directory(first[0]).fd)  # the next look-up may close it
        try:
            target = self._door.directory(parent).fd
            os.link(first[1], name, src_dir_fd=old, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(old)

    def _file(self, source: Source, found: Found, directory: int, name: bytes) -> None:
        original = open_found(source.fd, found.name)
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
            try:
                _copy_content(original, fd, found.file_size)
                self._metadata.by_descriptor(fd, self._changed(found), created_mode=-1)
            finally:
                os.close(fd)
        finally:
            os.close(original)

    def _other(self, found: Found, directory: int, name: bytes) -> None:
        entry = self._changed(found)
        is_link = found.kind == tar_reader.SYMBOLIC_LINK
        if is_link:
            os.symlink(found.link_name, name, dir_fd=directory)
        elif found.kind == tar_reader.FIFO:
            os.mkfifo(name, 0o600, dir_fd=directory)
        else:
            form = stat.S_IFCHR if found.kind == tar_reader.CHARACTER_DEVICE else stat.S_IFBLK
            os.mknod(name, form | 0o600, os.makedev(found.device_major, found.device_minor), dir_fd=directory)
        self._metadata.by_name(directory, name, entry, is_link=is_link)
        if not is_link:
            # Not a link: it was made a moment ago in a directory that nobody else has.
            os.chmod(name, entry.mode & 0o7777, dir_fd=directory)

    def _changed(self, found: Found) -> Entry:
        entry = Entry()
        for attribute in Entry.__slots__:
            setattr(entry, attribute, getattr(found, attribute))
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if self._mode is not None and found.kind != tar_reader.SYMBOLIC_LINK:
            entry.mode = self._mode
        return entry


def _copy_content(source_fd: int, target_fd: int, size: int) -> None:
    """All data of a file; holes stay holes."""
    segments = find_segments(source_fd, size)
    if segments is not None:
        os.ftruncate(target_fd, size)
    for begin, length in [(0, size)] if segments is None else segments:
        position, end = begin, begin + length
        while position < end:
            piece = os.pread(source_fd, min(_PIECE, end - position), position)
            if not piece:
                raise OSError(errno.EIO, "file became shorter while it was copied")
            position += os.pwrite(target_fd, piece, position)


class _Naming:
    """Turns refusals of the file system into errors that name the path."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise _refused(error, self._path) from error


def _refused(error: OSError, path: bytes) -> ImageError:
    hint = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    hint = "something on the way is no directory" if error.errno == errno.ENOTDIR else hint
    return ImageError(f"cannot copy: {errno_text(error.errno or 0)}", where=f"path {show(path)}", hint=hint)
