"""One layer on its way in: decompressed into a spool file, verified, and its entries listed.

Nothing of a layer's content is interpreted here beyond its names, so layers can be indexed at the same
time, each in a process of its own.  What comes out is plain tuples, cheap to hand between processes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers import tar_reader, whiteouts
from oci_image.layers.pipeline import LayerPipeline
from oci_image.layers.rootdir import show, split_name
from oci_image.layers.stream import PlainStream
from oci_image.layers.tar_reader import TarReader
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from oci_image.layers.limits import Limits
    from oci_image.layers.tar_header import Entry
    from oci_image.model.digest import Digest
    from oci_image.store.verified import VerifiedReader

# Kinds of items that no archive has.
HIDE = b"hide"  # a whiteout of `name` in `parent`
HIDE_ALL = b"hide all"  # an opaque whiteout: of everything in `parent`

# parent, name, kind, mode, uid, gid, modification time, size, offset of the data in the spool, more;
# `more` is None or (access time, file size, link name, major, minor, xattrs, segments).
Item = tuple[bytes, bytes, bytes, int, int, int, int, int, int, Any]

_MAX_TARGET = 4095  # what symlink(2) takes


def index_layer(
    blob: VerifiedReader, blob_size: int, diff_id: Digest, spool_fd: int, limits: Limits
) -> list[Item]:
    """Write the layer's plain bytes to `spool_fd` and return its items; takes the blob reader over.

    With -1 the plain bytes are not kept.

    Raises: IntegrityError if size, digest or diff ID is wrong, ImageError naming the entry at fault.
    """
    pipeline = LayerPipeline(blob, blob_size, diff_id, limits)
    try:
        reader = TarReader(stream := PlainStream(_Spooling(pipeline, spool_fd)), limits)
        try:
            items = _items(reader, stream, limits)
        except IntegrityError:
            raise
        except ImageError as error:
            # A damaged blob shows as any malformed entry; that it is damaged is the better explanation.
            pipeline.check_blob()
            where = f"entry {show(reader.current_name)}" if reader.current_name else ""
            raise ImageError(error.what, where=where or error.where, hint=error.hint) from error
        pipeline.finish()
        return items
    except OSError as error:
        raise ImageError(f"cannot store the plain layer: {errno_text(error.errno or 0)}") from error
    finally:
        pipeline.close()


def index_archive(source: PieceReader, spool_fd: int, limits: Limits) -> list[Item]:
    """The same for an archive that nobody has promised a digest for; ImageError naming the entry at fault."""
    reader = TarReader(stream := PlainStream(_Spooling(source, spool_fd)), limits)
    try:
        items = _items(reader, stream, limits)
        stream.drain()
    except ImageError as error:
        where = f"entry {show(reader.current_name)}" if reader.current_name else error.where
        raise ImageError(error.what, where=where, hint=error.hint) from error
    return items


def _items(reader: TarReader, stream: PlainStream, limits: Limits) -> list[Item]:
    items = (_item(entry, stream.offset, limits) for entry in reader)
    return [item for item in items if item is not None]


class PieceReader(Protocol):
    """Plain bytes, in pieces of any size; b"" at the end."""

    def read_piece(self) -> bytes: ...


class _Spooling:
    """Hands pieces on, and writes them down."""

    def __init__(self, pipeline: PieceReader, spool_fd: int) -> None:
        self._pipeline = pipeline
        self._spool_fd = spool_fd

    def read_piece(self) -> bytes:
        piece = self._pipeline.read_piece()
        rest = memoryview(piece)
        while rest and self._spool_fd >= 0:
            rest = rest[os.write(self._spool_fd, rest) :]
        return piece


def _item(entry: Entry, offset: int, limits: Limits) -> Item | None:
    parts = split_name(entry.name, depth=limits.path_depth, component=limits.name_bytes)
    kind = entry.kind
    if not parts:
        if kind != tar_reader.DIRECTORY:
            raise ImageError("the root can only be a directory")
        name = b""
    else:
        if b".wh." in entry.name:
            if whiteouts.is_aufs_metadata(parts):
                return None
            if (hidden := _whiteout(parts)) is not None:
                return hidden
        name = parts.pop()
    more: Any = None
    if kind == tar_reader.HARD_LINK:
        target = split_name(
            entry.link_name, what="link target", depth=limits.path_depth, component=limits.name_bytes
        )
        if not target:
            raise ImageError("hard link has no target, or the root")
        more = (None, 0, b"/".join(target), 0, 0, {}, None)
    elif kind == tar_reader.SYMBOLIC_LINK and not 0 < len(entry.link_name) <= _MAX_TARGET:
        raise ImageError(
            "symbolic link has no target"
            if not entry.link_name
            else f"target of symbolic link is longer than {_MAX_TARGET} bytes"
        )
    if more is None and (
        kind not in b"05" or entry.xattrs or entry.segments is not None or entry.access_time
    ):
        more = (
            entry.access_time, entry.file_size, entry.link_name, entry.device_major, entry.device_minor,
            entry.xattrs, entry.segments,
        )  # fmt: skip
    return (
        b"/".join(parts), name, kind, entry.mode, entry.uid, entry.gid, entry.modification_time, entry.size,
        offset, more,
    )  # fmt: skip


def _whiteout(parts: list[bytes]) -> Item | None:
    """The item of a name that stands for something else; None if the entry is an ordinary one."""
    if any(part.startswith(whiteouts.PREFIX) for part in parts[:-1]):
        raise ImageError("entry lies below a whiteout")
    parent = b"/".join(parts[:-1])
    if parts[-1] == whiteouts.OPAQUE:
        return (parent, b"", HIDE_ALL, 0, 0, 0, 0, 0, 0, None)
    if parts[-1].startswith(whiteouts.PREFIX):
        return (parent, whiteouts.hidden_name(parts[-1]), HIDE, 0, 0, 0, 0, 0, 0, None)
    return None
