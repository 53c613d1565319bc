"""Applying the layers of an image, bottom first, to one root directory while they stream in.

Source: image-spec layer.md, "Applying Changesets".
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers import tar_reader, whiteouts
from oci_image.layers.lower import LowerContent
from oci_image.layers.rootdir import Directory, RootDirectory, show, split_name
from oci_image.layers.tar_header import Entry
from oci_image.layers.tar_reader import TarReader
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from oci_image.layers.limits import Limits
    from oci_image.layers.metadata import MetadataWriter
    from oci_image.layers.stream import PlainStream

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LayerApplier:
    """Puts layers on top of each other in `root`; `finish` gives the directories their metadata.

    Directories get theirs at the end of all layers: making entries changes their times, and one without
    write permission could not be filled by its owner.  The process's umask must be 0.
    """

    def __init__(
        self, root: RootDirectory, metadata: MetadataWriter, limits: Limits, *, keep_links: bool = False
    ) -> None:
        self._root = root
        self._metadata = metadata
        self._limits = limits
        self._keep_links = keep_links  # a directory entry over a link to a directory leaves the link
        self._directories: dict[int, tuple[bytes, Entry]] = {root.root.inode: (b"", _default_directory())}
        self._listed: set[int] = set()  # directories listed by more than one layer
        self._lower = LowerContent(root)
        self._late_links: list[tuple[bytes, bytes, Entry]] = []

    def apply(self, stream: PlainStream) -> None:
        """Apply one layer; ImageError names the entry at fault."""
        self._lower = LowerContent(self._root)
        self._late_links = []
        reader = TarReader(stream, self._limits)
        try:
            for entry in reader:
                self._apply_entry(entry, reader)
            late, self._late_links = self._late_links, []
            for parent_path, name, entry in late:
                reader.current_name = entry.name
                self._link(parent_path, name, entry, last_try=True)
        except IntegrityError:
            raise
        except ImageError as error:
            raise ImageError(
                error.what, where=f"entry {show(reader.current_name)}", hint=error.hint
            ) from error
        except OSError as error:
            detail = f": {error.filename}" if str(error.filename).startswith("extended") else ""
            what = f"cannot unpack{detail}: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=f"entry {show(reader.current_name)}") from error

    def finish(self) -> None:
        """Give every directory the metadata of its last entry, the deepest ones first."""
        self._root.close()
        for inode, (path, entry) in sorted(
            self._directories.items(), key=lambda item: -item[1][0].count(b"/")
        ):
            try:
                directory = self._root.directory(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed again by a later layer
            if directory.inode != inode:
                continue
            try:
                if inode in self._listed:
                    self._metadata.clear_xattrs(directory.fd)
                self._metadata.by_descriptor(directory.fd, entry, created_mode=-1)
            except OSError as error:
                what = f"cannot set attributes: {errno_text(error.errno or 0)}"
                raise ImageError(what, where=f"directory {show(path)}") from error
        self._root.close()

    def _apply_entry(self, entry: Entry, reader: TarReader) -> None:
        parts = split_name(entry.name, depth=self._limits.path_depth)
        if not parts:
            if entry.kind != tar_reader.DIRECTORY:
                raise ImageError("the root can only be a directory")
            self._record(self._root.root.inode, b"", entry)
            return
        if b".wh." in entry.name and self._apply_whiteout(parts):
            return
        name = parts.pop()
        parent_path = b"/".join(parts)
        if entry.kind == tar_reader.HARD_LINK:
            self._link(parent_path, name, entry, last_try=False)
            return
        parent = self._parent(parent_path)
        self._lower.keep(parent, name)
        if entry.kind == tar_reader.REGULAR:
            self._file(parent, name, entry, reader)
        elif entry.kind == tar_reader.DIRECTORY:
            self._directory(parent, parent_path, name, entry)
        else:
            self._other(parent, name, entry)

    def _apply_whiteout(self, parts: list[bytes]) -> bool:
        """Handle names that stand for something else; False if the entry is an ordinary one."""
        if whiteouts.is_aufs_metadata(parts):
            return True
        if any(part.startswith(whiteouts.PREFIX) for part in parts[:-1]):
            raise ImageError("entry lies below a whiteout")
        if parts[-1] == whiteouts.OPAQUE:
            self._lower.hide_all_in(parts[:-1])
        elif parts[-1].startswith(whiteouts.PREFIX):
            self._lower.hide(parts[:-1], whiteouts.hidden_name(parts[-1]))
        else:
            return False
        return True

    def _parent(self, path: bytes) -> Directory:
        """The directory that an entry goes into, made with its own parents if the layer left them out."""
        try:
            parent = self._root.directory(path)
        except (FileNotFoundError, NotADirectoryError):
            parent = self._make_parents(path)
        self._lower.enter(parent)
        return parent

    def _make_parents(self, path: bytes) -> Directory:
        parts = path.split(b"/")
        for count in range(1, len(parts) + 1):
            prefix = b"/".join(parts[:count])
            try:
                self._root.directory(prefix)
                continue
            except (FileNotFoundError, NotADirectoryError):
                pass
            parent = self._root.directory(b"/".join(parts[: count - 1]))
            name = parts[count - 1]
            self._lower.enter(parent)
            self._clear_parent_name(parent, name, prefix)
            self._lower.keep(parent, name)
            inode = self._root.make_directory(parent, name, 0o700)
            self._record(inode, prefix, _default_directory(), created=True)
        return self._root.directory(path)

    def _clear_parent_name(self, parent: Directory, name: bytes, prefix: bytes) -> None:
        """A file of a lower layer gives way to the directory that an entry implies; nothing else does."""
        try:
            status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(status.st_mode) or self._lower.is_kept(parent, name):
            raise ImageError(f"parent {show(prefix)} is not a directory")
        self._root.make_room(parent, name)

    def _record(self, inode: int, path: bytes, entry: Entry, *, created: bool = False) -> None:
        if created:
            self._lower.made_directory(inode)
            self._listed.discard(inode)
        elif inode in self._directories:
            self._listed.add(inode)
        # Taken out first, so that the last entry of a directory reached by two names is also the last
        # in order.
        self._directories.pop(inode, None)
        self._directories[inode] = (path, entry)

    def _file(self, parent: Directory, name: bytes, entry: Entry, reader: TarReader) -> None:
        mode = entry.mode & 0o777
        if self._metadata.rootless:
            mode |= 0o600  # until the attributes are set
        try:
            fd = os.open(name, _NEW_FILE, mode, dir_fd=parent.fd)
        except FileExistsError:
            self._root.make_room(parent, name)
            fd = os.open(name, _NEW_FILE, mode, dir_fd=parent.fd)
        try:
            if entry.segments is not None:
                self._write_sparse(fd, entry, reader)
            elif entry.size:
                for view in reader.data():
                    _write_all(fd, view)
            self._metadata.by_descriptor(fd, entry, created_mode=mode)
        finally:
            os.close(fd)

    def _write_sparse(self, fd: int, entry: Entry, reader: TarReader) -> None:
        os.ftruncate(fd, entry.file_size)
        for offset, length in entry.segments or ():
            os.lseek(fd, offset, os.SEEK_SET)
            for view in reader.data_part(length):
                _write_all(fd, view)

    def _directory(self, parent: Directory, parent_path: bytes, name: bytes, entry: Entry) -> None:
        path = parent_path + b"/" + name if parent_path else name
        try:
            inode = self._root.make_directory(parent, name, 0o700)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._lower.kept_directory(status.st_ino)
                self._record(status.st_ino, path, entry)
                return
            if self._keep_links and stat.S_ISLNK(status.st_mode) and self._leads_to_directory(path):
                return
            self._root.make_room(parent, name)
            inode = self._root.make_directory(parent, name, 0o700)
        self._record(inode, path, entry, created=True)

    def _leads_to_directory(self, path: bytes) -> bool:
        try:
            os.close(self._root.open_file(path, os.O_PATH | os.O_DIRECTORY))
        except OSError:
            return False
        return True

    def _other(self, parent: Directory, name: bytes, entry: Entry) -> None:
        try:
            self._make_other(parent, name, entry)
        except FileExistsError:
            self._root.make_room(parent, name)
            self._make_other(parent, name, entry)
        self._metadata.by_name(parent.fd, name, entry, is_link=entry.kind == tar_reader.SYMBOLIC_LINK)

    def _make_other(self, parent: Directory, name: bytes, entry: Entry) -> None:
        kind = entry.kind
        if kind == tar_reader.SYMBOLIC_LINK:
            if not entry.link_name:
                raise ImageError("symbolic link has no target")
            os.symlink(entry.link_name, name, dir_fd=parent.fd)
        elif kind == tar_reader.FIFO:
            os.mkfifo(name, entry.mode & 0o777, dir_fd=parent.fd)
        elif self._metadata.rootless:
            self._metadata.notices.setdefault(
                "device", f"devices are unpacked as empty files without root, the first is {show(entry.name)}"
            )
            entry.mode = 0
            os.close(os.open(name, _NEW_FILE, 0, dir_fd=parent.fd))
        else:
            form = stat.S_IFCHR if kind == tar_reader.CHARACTER_DEVICE else stat.S_IFBLK
            device = os.makedev(entry.device_major, entry.device_minor)
            try:
                os.mknod(name, form | entry.mode & 0o777, device, dir_fd=parent.fd)
            except PermissionError:
                hint = "with --rootless an empty file is made instead"
                raise ImageError("cannot make a device node on this host", hint=hint) from None

    def _link(self, parent_path: bytes, name: bytes, entry: Entry, *, last_try: bool) -> None:
        """A hard link: its target is a path in the image, whose last component is not followed."""
        target = split_name(entry.link_name, what="link target", depth=self._limits.path_depth)
        if not target:
            raise ImageError("hard link has no target, or the root")
        target_name = target.pop()
        try:
            source = self._root.directory(b"/".join(target))
            status = os.stat(target_name, dir_fd=source.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            if last_try:
                raise ImageError(f"target of hard link {show(entry.link_name)} is not in the image") from None
            self._late_links.append((parent_path, name, entry))
            return
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"target of hard link {show(entry.link_name)} is a directory")
        # Held by a descriptor of its own: opening the parent may close the kept ones.
        source_fd = os.dup(source.fd)
        try:
            parent = self._parent(parent_path)
            self._lower.keep(parent, name)
            self._make_link(source_fd, target_name, status, parent, name)
        finally:
            os.close(source_fd)

    def _make_link(
        self, source_fd: int, target_name: bytes, status: os.stat_result, parent: Directory, name: bytes
    ) -> None:
        for _ in range(2):
            try:
                os.link(target_name, name, src_dir_fd=source_fd, dst_dir_fd=parent.fd, follow_symlinks=False)
            except FileExistsError:
                there = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
                if there.st_ino == status.st_ino:
                    return  # a link to itself must not remove its target
                self._root.make_room(parent, name)
            else:
                return


def _default_directory() -> Entry:
    """What a directory gets that no layer lists: 0755 root, and a time that does not vary."""
    entry = Entry()
    entry.kind = tar_reader.DIRECTORY
    entry.mode = 0o755
    return entry


def _write_all(fd: int, view: memoryview) -> None:
    written = os.write(fd, view)
    while written < len(view):
        written += os.write(fd, view[written:])
