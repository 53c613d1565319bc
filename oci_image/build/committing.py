"""From the changes of an overlay to a layer.

The upper directory has what is new, devices 0:0 for what is gone, and an attribute on directories that hide
all of what was there.  The latter is also on directories that are merely new, so the tree below is asked.

Source: the kernel's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.metadata import Ownership, is_dropped
from oci_image.layers.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from oci_image.pack.changes import walk
from oci_image.pack.disk import DiskTree, Found
from oci_image.pack.layer import LayerBlob, write_changes
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.store.content import Store

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class OverlayChanges:
    """What an upper directory changes in the tree below it; a context manager over both descriptors."""

    def __init__(self, upper: str, below: str) -> None:
        """Read the changes; ImageError if something cannot be in a layer."""
        self._upper_fd = os.open(upper, _DIRECTORY)
        self._below_fd = os.open(below, _DIRECTORY)
        self.removed: set[bytes] = set()
        try:
            self.tree = DiskTree(self._upper_fd, Ownership())
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


def _is_whiteout(found: Found) -> bool:
    return found.kind == tar_reader.CHARACTER_DEVICE and not found.device_major and not found.device_minor


def _attributes(fd: int) -> object:
    status = os.fstat(fd)
    names = sorted(name for name in os.listxattr(fd) if not is_dropped(os.fsencode(name)))
    return status.st_mode, status.st_uid, status.st_gid, [(name, os.getxattr(fd, name)) for name in names]
