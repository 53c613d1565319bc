"""One layer on its way in: decompressed into a spool file, verified, and its entries listed.

Nothing of a layer's content is interpreted here beyond its names, so layers can be indexed at the same
time, each in a process of its own.  What comes out is plain tuples, cheap to hand between processes.
"""

from __future__ import annotations

import marshal
import os

from oci_image.errors import ImageError
from oci_image.layers import tar_reader, whiteouts
from oci_image.layers.following import Follower
from oci_image.layers.pipeline import unfold_layer
from oci_image.layers.rootdir import show, split_name
from oci_image.layers.stream import FileStream
from oci_image.layers.tar_reader import TarReader
from oci_image.layers.workers import can_start
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from oci_image.layers.limits import Limits
    from oci_image.layers.stream import PieceSource
    from oci_image.layers.tar_header import Entry
    from oci_image.model.digest import Digest
    from oci_image.store.verified import VerifiedReader

# Kinds of items that no archive has.
HIDE = b"hide"  # a whiteout of `name` in `parent`
HIDE_ALL = b"hide all"  # an opaque whiteout: of everything in `parent`

# parent, name, kind, mode, uid, gid, modification time, size, offset of the data in the spool, more;
# `more` is None or (access time, file size, link name, major, minor, xattrs, segments).
Item: TypeAlias = "tuple[bytes, bytes, bytes, int, int, int, int, int, int, Any]"

_SPECIAL = (b"", b".", b"..")
_MAX_TARGET = 4095  # what symlink(2) takes
_WORTH_A_PROCESS = 256 << 10  # compressed; another process takes one or two milliseconds


def index_layer(
    blob: VerifiedReader, blob_size: int, diff_id: Digest, spool_fd: int, limits: Limits
) -> bytes:
    """Write the layer's plain bytes to `spool_fd`, which can be read; its items, packed.  Takes the reader over.

    Raises: IntegrityError if size, digest or diff ID is wrong, ImageError naming the entry at fault.
    """
    try:
        if blob_size < _WORTH_A_PROCESS or not can_start():
            size = unfold_layer(blob, blob_size, diff_id, spool_fd, limits)
            return pack_items(index_plain(spool_fd, size, limits))
        with Follower(spool_fd, lambda stream: pack_items(_index(stream, limits))) as follower:
            unfold_layer(blob, blob_size, diff_id, spool_fd, limits, follower.grown)
            found: bytes = follower.result()
            return found
    except OSError as error:
        raise ImageError(f"cannot store the plain layer: {errno_text(error.errno or 0)}") from error


def pack_items(items: list[Item]) -> bytes:
    """Items as one process hands them to another."""
    return marshal.dumps(items)


def unpack_items(packed: bytes) -> list[Item]:
    """What `pack_items` has packed, in this very process or in a child of it."""
    items: list[Item] = marshal.loads(packed)  # noqa: S302
    return items


def index_archive(source: PieceSource, spool_fd: int, limits: Limits) -> list[Item]:
    """The same for an archive that nobody has promised a digest for; ImageError naming the entry at fault."""
    size = 0
    while piece := source.read_piece():
        size += len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(spool_fd, rest) :]
    return index_plain(spool_fd, size, limits)


def index_plain(fd: int, size: int, limits: Limits) -> list[Item]:
    """The items of a plain layer, the first `size` bytes of a file; ImageError names the entry at fault."""
    return _index(FileStream(fd, size), limits)


def _index(stream: FileStream, limits: Limits) -> list[Item]:
    reader = TarReader(stream, limits)
    parents: dict[bytes, bytes] = {}
    try:
        items = []
        for entry in reader:
            item = _item(entry, stream.offset, limits, parents)
            if item is not None:
                items.append(item)
        return items
    except ImageError as error:
        where = f"entry {show(reader.current_name)}" if reader.current_name else ""
        raise ImageError(error.what, where=where or error.where, hint=error.hint) from error


def _item(entry: Entry, offset: int, limits: Limits, parents: dict[bytes, bytes]) -> Item | None:
    """`parents` are directories as archives of this layer spell them, and as they are meant."""
    kind = entry.kind
    directory, _, name = entry.name.rpartition(b"/")
    parent = parents.get(directory)
    # The usual case: a plain name in a directory that has occurred before.
    if (
        parent is None
        or name in _SPECIAL
        or len(name) > limits.name_bytes
        or name.startswith(whiteouts.PREFIX)
    ):
        parts = split_name(entry.name, depth=limits.path_depth, component=limits.name_bytes)
        if not parts and kind != tar_reader.DIRECTORY:
            raise ImageError("the root can only be a directory")
        if b".wh." in entry.name:
            if whiteouts.is_aufs_metadata(parts):
                return None
            if (hidden := _whiteout(parts)) is not None:
                return hidden
        name = parts.pop() if parts else b""
        parent = b"/".join(parts)
        if name and entry.name.endswith(name):
            parents[directory] = parent
    return (
        parent, name, kind, entry.mode, entry.uid, entry.gid, entry.modification_time, entry.size, offset,
        _more(entry, limits),
    )  # fmt: skip


def _more(entry: Entry, limits: Limits) -> Any:  # noqa: ANN401 - see Item
    """What only few entries have; None if this one has nothing of it."""
    kind = entry.kind
    if kind == tar_reader.HARD_LINK:
        target = split_name(
            entry.link_name, what="link target", depth=limits.path_depth, component=limits.name_bytes
        )
        if not target:
            raise ImageError("hard link has no target, or the root")
        return (None, 0, b"/".join(target), 0, 0, {}, None)
    if kind == tar_reader.SYMBOLIC_LINK and not 0 < len(entry.link_name) <= _MAX_TARGET:
        raise ImageError(
            "symbolic link has no target"
            if not entry.link_name
            else f"target of symbolic link is longer than {_MAX_TARGET} bytes"
        )
    if kind not in b"05" or entry.xattrs or entry.segments is not None or entry.access_time:
        return (
            entry.access_time, entry.file_size, entry.link_name, entry.device_major, entry.device_minor,
            entry.xattrs, entry.segments,
        )  # fmt: skip
    return None


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
