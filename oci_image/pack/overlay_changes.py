"""From the changes of an overlay to a layer.

The upper directory has what is new, devices 0:0 for what is gone, and an attribute on directories that hide
all of what was there.  The latter is also on directories that are merely new, so the tree below is asked.

Source: the kernel's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.metadata import Ownership, is_dropped
from oci_image.layers.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from oci_image.pack.changes import attributes, same_bytes, walk
from oci_image.pack.disk import DiskTree, Found, open_found
from oci_image.pack.layer import LayerBlob, write_changes
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.store.content import Store

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class OverlayChanges:
    """What an upper directory changes in the tree below it; a context manager over both descriptors."""

    def __init__(self, upper: str, below: str, ownership: Ownership | None = None) -> None:
        """Read the changes; ImageError if something cannot be in a layer."""
        self._ownership = ownership or Ownership()
        self._upper_fd = os.open(upper, _DIRECTORY)
        self._below_fd = os.open(below, _DIRECTORY)
        self.removed: set[bytes] = set()
        self.added: set[bytes] = set()
        try:
            self.tree = DiskTree(self._upper_fd, self._ownership)
            self._root = self.tree.read()
            self._collect()
        except OSError as error:
            self.close()
            raise ImageError(
                f"cannot read what has changed: {errno_text(error.errno or 0)}", where=upper
            ) from error
        except BaseException:
            self.close()
            raise
        self.written = {found.name for found in walk(self._root)} - {b""}
        if self._root_differs():
            self.written.add(b"")

    def __enter__(self) -> OverlayChanges:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._upper_fd)
        os.close(self._below_fd)

    def __bool__(self) -> bool:
        return bool(self.written or self.removed)

    def keep_differences(self, masked: Collection[bytes]) -> None:
        """Forget what was brought up and is as it was, and all that is `masked` or below it.

        `written` then has only what differs, and the directories above; `added` what was not there.
        Raises: OSError.
        """
        below = DiskTree(self._below_fd, self._ownership)
        different: set[bytes] = set()
        for found in walk(self._root):
            if _is_masked(found.name, masked):
                continue
            before = below.describe(found.name)
            if before is None:
                self.added.add(found.name)
            if before is None or self._differs(before, found):
                different.add(found.name)
        self.removed = {path for path in self.removed if not _is_masked(path, masked)}
        for path in [*different, *self.removed]:
            above = path.rpartition(b"/")[0]
            while above and above not in different:
                different.add(above)
                above = above.rpartition(b"/")[0]
        self.written = different

    def _differs(self, before: Found, now: Found) -> bool:
        # Second names are compared by nobody: what has one, or had one, counts as changed.
        if before.kind != now.kind or before.inode or now.inode or attributes(before) != attributes(now):
            return True
        if now.kind != tar_reader.REGULAR or not now.file_size:
            return False
        fds: list[int] = []
        try:
            fds = [open_found(self._below_fd, now.name), open_found(self._upper_fd, now.name)]
            return not same_bytes(fds[1], 0, fds[0], 0, now.file_size)
        finally:
            for fd in fds:
                os.close(fd)

    def write(
        self, store: Store, compression: str, level: int, latest: int | None, *, docker: bool
    ) -> tuple[Descriptor, Digest]:
        """Put the layer into the store; its descriptor and diff ID.  `latest` is in seconds."""
        with LayerBlob(store, compression, level, docker=docker) as blob:
            write_changes(blob.archive, self._root, self._upper_fd, self.written, self.removed, latest)
            blob.archive.finish()
            return blob.finish()

    def _collect(self) -> None:
        todo = [(self._root, False)]
        while todo:
            found, hides = todo.pop()
            assert found.children is not None
            hides = hides or self._is_opaque(found.name)
            there = self._names_below(found.name)
            for name, child in list(found.children.items()):
                if _is_whiteout(child):
                    del found.children[name]
                    if name in there:
                        self.removed.add(child.name)
                elif child.children is not None:
                    todo.append((child, hides))
            if hides:
                gone = there - found.children.keys()
                self.removed |= {found.name + b"/" + name if found.name else name for name in gone}

    def _is_opaque(self, path: bytes) -> bool:
        fd = openat2(self._upper_fd, path or b".", _DIRECTORY, _STRICT)
        try:
            for name in _OPAQUE:
                try:
                    if os.getxattr(fd, name) == b"y":
                        return True
                except OSError:
                    continue
        finally:
            os.close(fd)
        return False

    def _names_below(self, path: bytes) -> set[bytes]:
        """What the tree below has in the directory `path`; nothing if that is no directory there."""
        try:
            fd = openat2(self._below_fd, path or b".", _DIRECTORY, _STRICT)
        except OSError:
            return set()
        try:
            return {os.fsencode(name) for name in os.listdir(fd)}
        finally:
            os.close(fd)

    def _root_differs(self) -> bool:
        """Whether the root itself was changed, apart from its time."""
        return _attributes(self._upper_fd) != _attributes(self._below_fd)


def _is_masked(path: bytes, masked: Collection[bytes]) -> bool:
    return any(path == mask or path.startswith(mask + b"/") for mask in masked)


def _is_whiteout(found: Found) -> bool:
    return found.kind == tar_reader.CHARACTER_DEVICE and not found.device_major and not found.device_minor


def _attributes(fd: int) -> object:
    status = os.fstat(fd)
    names = sorted(name for name in os.listxattr(fd) if not is_dropped(os.fsencode(name)))
    return status.st_mode, status.st_uid, status.st_gid, [(name, os.getxattr(fd, name)) for name in names]
