"""EROFS images that hold a tree's metadata only; the data stay where they are, in the plain layer tars.

Blocks have 512 bytes, as tar archives, so that one chunk index per file points at its data in one of the
devices.  Everything here is little-endian.

Source: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from oci_image.layers import tar_reader
from oci_image.layers.metadata import is_dropped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oci_image.layers.merged import Node

BLOCK_BITS = 9
_BLOCK = 1 << BLOCK_BITS
_MAGIC = 0xE0F5E1E2
_SUPERBLOCK_OFFSET = 1024
_SLOT = 128  # the superblock, and each device in the table behind it
_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQ")
_DEVICE = struct.Struct("<64sII")
_INODE = struct.Struct("<HHHHQIIIIQII16x")  # the extended form
_DIRENT = struct.Struct("<QHBB")
_CHUNK = struct.Struct("<HHI")
_CHUNKED_FILES = 0x4
_DEVICE_TABLE = 0x8
_EXTENDED = 1
_PLAIN = 0 << 1
_INLINE = 2 << 1
_CHUNKED = 4 << 1
_CHUNK_INDEXES = 0x20
_MAX_CHUNK_BITS = 31
_MAX_INLINE_LINK = 256
_MAX_XATTR_BYTES = 4 * 0xFFFE  # of one inode, which counts them in words of 4 bytes
_MAX_BLOCKS = 0xFFFFFFFF  # of one device
_NANOSECONDS = 1_000_000_000

# kind: type bits of the mode, type in directory entries
_TYPES = {
    tar_reader.REGULAR: (0o100000, 1),
    tar_reader.DIRECTORY: (0o040000, 2),
    tar_reader.CHARACTER_DEVICE: (0o020000, 3),
    tar_reader.BLOCK_DEVICE: (0o060000, 4),
    tar_reader.FIFO: (0o010000, 5),
    tar_reader.SYMBOLIC_LINK: (0o120000, 7),
}
_XATTR_PREFIXES = (
    (b"user.", 1), (b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3), (b"trusted.", 4),
    (b"security.", 6),
)  # fmt: skip


class UnsuitableError(Exception):
    """The tree has something that this form cannot hold; the text says what."""


def write_image(root: Node, layer_sizes: Sequence[int]) -> tuple[bytes, list[str]]:
    """The image of a tree over its plain layers, and the names of attributes that were left out.

    `layer_sizes` are in bytes; the n-th layer must be mounted as the n-th device.
    """
    return _Writer(root, layer_sizes).write()


class _Placed:
    """A node with its place in the image."""

    __slots__ = ("body", "links", "node", "number", "parent", "place", "xattrs")

    def __init__(self, node: Node, parent: _Placed | None, xattrs: bytes) -> None:
        self.node = node
        self.parent = parent
        self.xattrs = xattrs
        self.links = 1
        self.place = 0
        self.number = 0  # what the kernel calls nid: the place in units of 32 bytes
        self.body = b""  # of a directory: its blocks


class _Writer:
    def __init__(self, root: Node, layer_sizes: Sequence[int]) -> None:
        self._blocks = [-(-size // _BLOCK) for size in layer_sizes]
        if max(self._blocks, default=0) > _MAX_BLOCKS:
            raise UnsuitableError("a layer of more than two terabytes")
        self._dropped: set[str] = set()
        self._root = root
        self._placed: list[_Placed] = []
        self._of_node: dict[int, _Placed] = {}

    def write(self) -> tuple[bytes, list[str]]:
        self._collect()
        data_start = self._place()
        tail, end = self._write_blocks(data_start)
        image = bytearray(data_start)
        for count, placed in enumerate(self._placed, 1):
            self._write_inode(image, placed, count)
        self._write_superblock(image, end)
        return bytes(image) + tail, sorted(self._dropped)

    def _collect(self) -> None:
        """Every inode once, directories before what is in them."""
        todo = [self._add(self._root, None)]
        for placed in todo:
            assert placed.node.children is not None
            for child in placed.node.children.values():
                if child.children is not None:
                    todo.append(self._add(child, placed))
                    placed.links += 1
                elif child.linked and id(child) in self._of_node:
                    self._of_node[id(child)].links += 1
                else:
                    self._add(child, placed)
        for placed in todo:
            placed.links += 1

    def _add(self, node: Node, parent: _Placed | None) -> _Placed:
        if node.segments is not None:
            raise UnsuitableError("sparse files")
        placed = _Placed(node, parent, self._xattrs(node) if node.xattrs else b"")
        self._placed.append(placed)
        self._of_node[id(node)] = placed
        return placed

    def _xattrs(self, node: Node) -> bytes:
        """The attributes behind an inode: a header without shared ones, then entry by entry."""
        entries = b""
        for name, value in sorted(node.xattrs.items()):
            on_file = node.kind in (tar_reader.REGULAR, tar_reader.DIRECTORY)
            if is_dropped(name) or (name.startswith(b"user.") and not on_file):
                self._dropped.add(name.decode("utf-8", "backslashreplace"))
                continue
            index, rest = _xattr_index(name)
            if not index:
                self._dropped.add(name.decode("utf-8", "backslashreplace"))
                continue
            if len(value) > 0xFFFF:
                raise UnsuitableError("an extended attribute of 64 KiB")
            entry = struct.pack("<BBH", len(rest), index, len(value)) + rest + value
            entries += entry + bytes(-len(entry) % 4)
        if len(entries) > _MAX_XATTR_BYTES:
            raise UnsuitableError("256 KiB of extended attributes on one file")
        return bytes(12) + entries if entries else b""

    def _place(self) -> int:
        """Give every inode its place; where the blocks of directories begin."""
        position = _aligned(_SUPERBLOCK_OFFSET + _SLOT * (1 + len(self._blocks)), _BLOCK)
        for placed in self._placed:
            node = placed.node
            size = _INODE.size + len(placed.xattrs)
            if node.kind == tar_reader.SYMBOLIC_LINK and len(node.link_name) <= _MAX_INLINE_LINK:
                # Inline data must not cross the end of a block.
                while (position + size) % _BLOCK + len(node.link_name) > _BLOCK:
                    position += 32
                size += len(node.link_name)
            elif node.kind == tar_reader.REGULAR and node.size:
                size = _aligned(size, 8) + _CHUNK.size
            placed.place = position
            placed.number = position >> 5
            position = _aligned(position + size, 32)
        return _aligned(position, _BLOCK)

    def _write_blocks(self, data_start: int) -> tuple[bytes, int]:
        """Blocks of directories and of long links; each one's first block goes into its `body`."""
        pieces: list[bytes] = []
        block = data_start >> BLOCK_BITS
        for placed in self._placed:
            node = placed.node
            if node.children is not None:
                content = self._directory(placed)
            elif node.kind == tar_reader.SYMBOLIC_LINK and len(node.link_name) > _MAX_INLINE_LINK:
                content = node.link_name
            else:
                continue
            placed.body = struct.pack("<IQ", block, len(content))
            padded = content + bytes(-len(content) % _BLOCK)
            pieces.append(padded)
            block += len(padded) >> BLOCK_BITS
        return b"".join(pieces), block

    def _directory(self, placed: _Placed) -> bytes:
        above = placed.parent or placed
        assert placed.node.children is not None
        entries = [(b".", placed.number, 2), (b"..", above.number, 2)]
        for name, child in placed.node.children.items():
            entries.append((name, self._of_node[id(child)].number, _TYPES[child.kind][1]))
        entries.sort()
        blocks: list[bytes] = []
        current: list[tuple[bytes, int, int]] = []
        used = 0
        for entry in entries:
            need = _DIRENT.size + len(entry[0])
            if used + need > _BLOCK:
                blocks.append(_directory_block(current).ljust(_BLOCK, b"\0"))
                current, used = [], 0
            current.append(entry)
            used += need
        blocks.append(_directory_block(current))
        return b"".join(blocks)

    def _write_inode(self, image: bytearray, placed: _Placed, count: int) -> None:
        node = placed.node
        # Links have no mode of their own, whatever their entries say: lstat shows 0777 for all.
        mode = 0o777 if node.kind == tar_reader.SYMBOLIC_LINK else node.mode
        layout, size, extra = _PLAIN, 0, 0
        behind = _INODE.size + len(placed.xattrs)
        if placed.body:
            extra, size = struct.unpack("<IQ", placed.body)
        elif node.kind == tar_reader.SYMBOLIC_LINK:
            layout, size = _INLINE, len(node.link_name)
            start = placed.place + behind
            image[start : start + size] = node.link_name
        elif node.kind == tar_reader.REGULAR and node.size:
            layout, size = _CHUNKED, node.size
            bits = max(0, (size - 1).bit_length() - BLOCK_BITS)
            if bits > _MAX_CHUNK_BITS:
                raise UnsuitableError("a file of more than a terabyte")
            extra = bits | _CHUNK_INDEXES
            start = _aligned(placed.place + behind, 8)
            _CHUNK.pack_into(image, start, 0, node.layer + 1, node.offset >> BLOCK_BITS)
        elif node.kind in (tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE):
            major, minor = node.device_major, node.device_minor
            extra = (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12
        icount = (len(placed.xattrs) - 12) // 4 + 1 if placed.xattrs else 0
        seconds, nanoseconds = divmod(node.modification_time, _NANOSECONDS)
        _INODE.pack_into(
            image, placed.place, _EXTENDED | layout, icount, _TYPES[node.kind][0] | mode, 0, size,
            extra & 0xFFFFFFFF, count, node.uid, node.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds,
            placed.links,
        )  # fmt: skip
        image[placed.place + _INODE.size : placed.place + behind] = placed.xattrs

    def _write_superblock(self, image: bytearray, blocks: int) -> None:
        features = _CHUNKED_FILES | (_DEVICE_TABLE if self._blocks else 0)
        _SUPERBLOCK.pack_into(
            image, _SUPERBLOCK_OFFSET, _MAGIC, 0, 0, BLOCK_BITS, 0, self._placed[0].number,
            len(self._placed), 0, 0, blocks, 0, 0, bytes(16), bytes(16), features, 0, len(self._blocks),
            (_SUPERBLOCK_OFFSET + _SLOT) // _SLOT, 0, 0, 0, 0,
        )  # fmt: skip
        for number, size in enumerate(self._blocks):
            _DEVICE.pack_into(image, _SUPERBLOCK_OFFSET + _SLOT * (1 + number), b"", size, 0)


def _xattr_index(name: bytes) -> tuple[int, bytes]:
    """The number of a name's prefix and what follows it; 0 where there is no number."""
    for prefix, index in _XATTR_PREFIXES:
        if name.startswith(prefix):
            return index, name[len(prefix) :]
    return 0, b""


def _directory_block(entries: list[tuple[bytes, int, int]]) -> bytes:
    offset = _DIRENT.size * len(entries)
    heads = []
    for name, number, kind in entries:
        heads.append(_DIRENT.pack(number, offset, kind, 0))
        offset += len(name)
    return b"".join(heads) + b"".join(name for name, _, _ in entries)


def _aligned(value: int, unit: int) -> int:
    return -(-value // unit) * unit
