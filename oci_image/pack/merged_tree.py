"""Writing the tree that an image's layers make as one archive."""

from __future__ import annotations

import os

from oci_image.layers import tar_reader
from oci_image.layers.tar_header import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from oci_image.layers.merged import Node
    from oci_image.pack.tar_writer import TarWriter

_PIECE = 1 << 20


def walk_nodes(root: Node) -> Iterator[tuple[bytes, Node]]:
    """Every path of a tree with its node, in no order but that parents come first."""
    todo = [(b"", root)]
    while todo:
        path, node = todo.pop()
        yield path, node
        for name, child in (node.children or {}).items():
            todo.append((path + b"/" + name if path else name, child))


def write_tree(
    archive: TarWriter,
    root: Node,
    spool_fds: Sequence[int],
    *,
    written: Collection[bytes] | None = None,
    removed: Collection[bytes] = (),
) -> None:
    """What is below `root`, parents first, names by their bytes; data are in the plain layers.

    Of the paths only those in `written`, if it is given; the paths in `removed` get whiteouts, which come before
    the other names of their directory.
    """
    hidden: dict[bytes, list[bytes]] = {}
    for path in sorted(removed):
        parent, _, name = path.rpartition(b"/")
        hidden.setdefault(parent, []).append(name)
    first_names: dict[int, bytes] = {}
    todo: list[tuple[bytes, Node]] = [(b"", root)]
    while todo:
        path, node = todo.pop()
        if (path or node.layer >= 0) and (written is None or path in written):
            _write(archive, path or b"./", node, spool_fds, first_names)
        for name in hidden.get(path, ()):
            archive.add_whiteout(path, name)
        for name in sorted(node.children or {}, reverse=True):
            assert node.children is not None
            todo.append((path + b"/" + name if path else name, node.children[name]))


def _write(
    archive: TarWriter, path: bytes, node: Node, spool_fds: Sequence[int], first_names: dict[int, bytes]
) -> None:
    entry = Entry()
    for name in Entry.__slots__:
        if name != "name":
            setattr(entry, name, getattr(node, name))
    entry.name = path
    entry.access_time = None
    if node.linked and (first := first_names.setdefault(id(node), path)) != path:
        entry.kind, entry.link_name = tar_reader.HARD_LINK, first
        entry.size = entry.file_size = 0
        entry.segments, entry.xattrs = None, {}
        archive.add(entry)
    elif node.kind == tar_reader.REGULAR and node.size:
        archive.add(entry, _read(spool_fds[node.layer], node.offset, node.size))
    else:
        entry.size = 0
        archive.add(entry)


def _read(fd: int, offset: int, size: int) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        piece = os.pread(fd, min(_PIECE, end - offset), offset)
        if not piece:
            return
        yield piece
        offset += len(piece)
