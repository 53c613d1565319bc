"""A new layer's way into the store: archive, diff ID, compression, blob."""

from __future__ import annotations

import hashlib
import os

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.rootdir import show
from oci_image.layers.tar_header import NANOSECONDS, Entry
from oci_image.model.descriptor import Descriptor
from oci_image.model.digest import Digest
from oci_image.pack.changes import walk
from oci_image.pack.compressing import open_compressor
from oci_image.pack.disk import find_segments, open_found, read_segments
from oci_image.pack.tar_writer import TarWriter
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType
    from typing import Self

    from oci_image.pack.disk import Found
    from oci_image.store.content import Store

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class LayerBlob:
    """A layer being written to `store`; a context manager, which keeps nothing unless `finish` is called.

    Use it inside of `store.adding`.  `archive` takes the entries.
    """

    def __init__(self, store: Store, compression: str, level: int = 0, *, docker: bool = False) -> None:
        self._media_type = _media_type(compression, docker=docker)
        self._writer = store.write_blob()
        self._hash = hashlib.sha256()
        self._compressor = open_compressor(compression, level, self._writer.write)
        self.archive = TarWriter(self.write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, data: bytes) -> None:
        """Plain bytes, for who has an archive already."""
        self._hash.update(data)
        self._compressor.write(data)

    def finish(self) -> tuple[Descriptor, Digest]:
        """Publish the blob; its descriptor and diff ID.  The archive must have been finished."""
        self._compressor.finish()
        digest, size = self._writer.commit()
        return Descriptor(self._media_type, digest, size), Digest("sha256", self._hash.hexdigest())


def _media_type(compression: str, *, docker: bool) -> str:
    if compression == "none":
        return DOCKER_LAYER if docker else OCI_LAYER
    return f"{DOCKER_LAYER}.{compression}" if docker else f"{OCI_LAYER}+{compression}"


def write_changes(
    archive: TarWriter,
    root: Found,
    root_fd: int,
    written: Collection[bytes],
    removed: Collection[bytes],
    latest: int | None = None,
    *,
    rename: Callable[[bytes], bytes] = bytes,
) -> None:
    """The paths `written` of a tree, and whiteouts for the paths `removed`; the archive stays open.

    In the archive a path has the name that `rename` gives it.  Order: parents first, in a directory
    whiteouts before entries, names by their bytes.  Times after `latest`, in seconds, become `latest`.
    Raises: ImageError.
    """
    hidden: dict[bytes, list[bytes]] = {}
    for path in sorted(removed):
        parent, _, name = path.rpartition(b"/")
        hidden.setdefault(parent, []).append(name)
    first_names: dict[int, bytes] = {}
    for found in walk(root):
        try:
            if found.name in written:
                _write(archive, found, _copy(found, rename(found.name), latest), root_fd, first_names)
        except OSError as error:
            what = f"cannot read: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=f"path {show(found.name)}") from error
        for name in hidden.get(found.name, ()):
            archive.add_whiteout(rename(found.name), name)


def _write(
    archive: TarWriter, found: Found, entry: Entry, root_fd: int, first_names: dict[int, bytes]
) -> None:
    if found.inode and (first := first_names.setdefault(found.inode, entry.name)) != entry.name:
        entry.kind, entry.link_name = tar_reader.HARD_LINK, first
        entry.size = entry.file_size = 0
        entry.xattrs = {}
        archive.add(entry)
    elif found.kind == tar_reader.REGULAR and found.file_size:
        fd = open_found(root_fd, found.name)
        try:
            entry.segments = find_segments(fd, found.file_size)
            segments = [(0, found.file_size)] if entry.segments is None else entry.segments
            entry.size = sum(length for _, length in segments)
            archive.add(entry, read_segments(fd, segments))
        finally:
            os.close(fd)
    else:
        archive.add(entry)


def _copy(found: Found, name: bytes, latest: int | None) -> Entry:
    entry = Entry()
    for attribute in Entry.__slots__:
        setattr(entry, attribute, getattr(found, attribute))
    entry.name = name or b"./"
    if latest is not None:
        entry.modification_time = min(entry.modification_time, latest * NANOSECONDS)
    return entry
