"""EROFS images that hold a tree's metadata only; the data stay where they are, in the plain layer tars.

Blocks have 512 bytes, as tar archives, so that one chunk index per file points at its data in one of the
devices.  Everything here is little-endian.

Source: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import itertools
import struct

from oci_image.layers import tar_reader
from oci_image.layers.metadata import is_dropped

TYPE_CHECKING = False
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
_FILE = struct.Struct(
    "<HHHHQIIIIQII16xHHI24x"
)  # an inode and its chunk index, up to the place of the next one
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SIZE_AT = 8  # in an inode
_DATA_AT = 16
_LINKS_AT = 44
_CHUNKED_FILES = 0x4
_DEVICE_TABLE = 0x8
_EXTENDED = 1
_PLAIN = 0 << 1
_INLINE = 2 << 1
_CHUNKED = 4 << 1
_CHUNK_INDEXES = 0x20
_MAX_CHUNK_BITS = 31
_MAX_PLAIN_SIZE = 1 << (BLOCK_BITS + _MAX_CHUNK_BITS)
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


class _Directory:
    """A directory with its place in the image, and what is known of its content."""

    __slots__ = ("entries", "links", "node", "number", "parent", "place")

    def __init__(self, node: Node, parent: _Directory | None, place: int) -> None:
        self.node = node
        self.parent = parent
        self.place = place
        self.number = place >> 5  # what the kernel calls nid: the place in units of 32 bytes
        self.links = 2
        self.entries: list[tuple[bytes, int, int]] = []  # name, number, type


class _Writer:
    def __init__(self, root: Node, layer_sizes: Sequence[int]) -> None:
        self._blocks = [-(-size // _BLOCK) for size in layer_sizes]
        if max(self._blocks, default=0) > _MAX_BLOCKS:
            raise UnsuitableError("a layer of more than two terabytes")
        self._dropped: set[str] = set()
        self._image = bytearray(_aligned(_SUPERBLOCK_OFFSET + _SLOT * (1 + len(self._blocks)), _BLOCK))
        self._count = 0  # of inodes
        self._directories: list[_Directory] = []
        # Directories, and places and targets of links too long for an inode: content in blocks of its own.
        self._outside: list[_Directory | tuple[int, bytes]] = []
        self._linked: dict[int, int] = {}  # the places of nodes that may have several names, by id()
        self._add_directory(root, None)

    def write(self) -> tuple[bytes, list[str]]:
        # Directories come before what is in them, and the list grows meanwhile.
        for directory in self._directories:
            self._add_content(directory)
        image = self._image
        image += bytes(-len(image) % _BLOCK)
        for item in self._outside:
            if isinstance(item, tuple):
                place, content = item
            else:
                place, content = item.place, _directory_content(item)
                _U32.pack_into(image, place + _LINKS_AT, item.links)
            _U64.pack_into(image, place + _SIZE_AT, len(content))
            _U32.pack_into(image, place + _DATA_AT, len(image) >> BLOCK_BITS)
            image += content
            image += bytes(-len(content) % _BLOCK)
        self._write_superblock()
        return bytes(image), sorted(self._dropped)

    def _add_content(self, directory: _Directory) -> None:
        """Write the inodes of what is in a directory, each node once."""
        image, entries, pack = self._image, directory.entries, _FILE.pack
        assert directory.node.children is not None
        for name, node in directory.node.children.items():
            size = node.size
            # The usual case, in which the inode and its chunk index are one record.
            if (
                node.kind == tar_reader.REGULAR
                and 0 < size <= _MAX_PLAIN_SIZE
                and not (node.linked or node.xattrs)
                and node.segments is None
            ):
                self._count = count = self._count + 1
                entries.append((name, len(image) >> 5, 1))
                seconds, nanoseconds = divmod(node.modification_time, _NANOSECONDS)
                image += pack(
                    _EXTENDED | _CHUNKED, 0, 0o100000 | node.mode, 0, size,
                    (size - 1).bit_length() - BLOCK_BITS | _CHUNK_INDEXES if size > _BLOCK else _CHUNK_INDEXES,
                    count, node.uid, node.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, 1,
                    0, node.layer + 1, node.offset >> BLOCK_BITS,
                )  # fmt: skip
            elif node.children is not None:
                directory.links += 1
                entries.append((name, self._add_directory(node, directory), 2))
            elif not node.linked:
                entries.append((name, self._add(node) >> 5, _TYPES[node.kind][1]))
            else:
                place = self._linked.get(id(node))
                if place is None:
                    place = self._linked[id(node)] = self._add(node)
                else:
                    (links,) = _U32.unpack_from(image, place + _LINKS_AT)
                    _U32.pack_into(image, place + _LINKS_AT, links + 1)
                entries.append((name, place >> 5, _TYPES[node.kind][1]))

    def _add_directory(self, node: Node, parent: _Directory | None) -> int:
        """Write the inode of a directory, whose content is not placed yet; its number."""
        directory = _Directory(node, parent, self._add(node))
        self._directories.append(directory)
        self._outside.append(directory)
        return directory.number

    def _add(self, node: Node) -> int:
        """Write an inode; its place."""
        if node.segments is not None:
            raise UnsuitableError("sparse files")
        xattrs = self._xattrs(node) if node.xattrs else b""
        self._count += 1
        image, kind, mode = self._image, node.kind, node.mode
        layout, size, extra, behind = _PLAIN, 0, 0, b""
        if kind == tar_reader.SYMBOLIC_LINK:
            # Links have no mode of their own, whatever their entries say: lstat shows 0777 for all.
            mode, target = 0o777, node.link_name
            if len(target) <= _MAX_INLINE_LINK:
                layout, size, behind = _INLINE, len(target), target
                # Inline data must not cross the end of a block.
                while (len(image) + _INODE.size + len(xattrs)) % _BLOCK + size > _BLOCK:
                    image += bytes(32)
            else:
                self._outside.append((len(image), target))
        elif kind == tar_reader.REGULAR and node.size:
            layout, size = _CHUNKED, node.size
            bits = max(0, (size - 1).bit_length() - BLOCK_BITS)
            if bits > _MAX_CHUNK_BITS:
                raise UnsuitableError("a file of more than a terabyte")
            extra = bits | _CHUNK_INDEXES
            gap = bytes(-(_INODE.size + len(xattrs)) % 8)
            behind = gap + _CHUNK.pack(0, node.layer + 1, node.offset >> BLOCK_BITS)
        elif kind in (tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE):
            major, minor = node.device_major, node.device_minor
            extra = (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12
        icount = (len(xattrs) - 12) // 4 + 1 if xattrs else 0
        seconds, nanoseconds = divmod(node.modification_time, _NANOSECONDS)
        place = len(image)
        image += _INODE.pack(
            _EXTENDED | layout, icount, _TYPES[kind][0] | mode, 0, size, extra & 0xFFFFFFFF, self._count,
            node.uid, node.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, 1,
        )  # fmt: skip
        image += xattrs + behind
        image += bytes(-len(image) % 32)
        return place

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

    def _write_superblock(self) -> None:
        image = self._image
        features = _CHUNKED_FILES | (_DEVICE_TABLE if self._blocks else 0)
        _SUPERBLOCK.pack_into(
            image, _SUPERBLOCK_OFFSET, _MAGIC, 0, 0, BLOCK_BITS, 0, self._directories[0].number,
            self._count, 0, 0, len(image) >> BLOCK_BITS, 0, 0, bytes(16), bytes(16), features, 0, len(self._blocks),
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


def _directory_content(directory: _Directory) -> bytes:
    """The blocks of a directory, all but the last one full: names in order, behind the heads that point at them."""
    above = directory.parent or directory
    entries = [(b".", directory.number, 2), (b"..", above.number, 2), *directory.entries]
    entries.sort()
    blocks: list[bytes] = []
    begin = used = 0
    for position, entry in enumerate(entries):
        used += _DIRENT.size + len(entry[0])
        if used > _BLOCK:
            blocks.append(_directory_block(entries[begin:position]).ljust(_BLOCK, b"\0"))
            begin, used = position, _DIRENT.size + len(entry[0])
    blocks.append(_directory_block(entries[begin:]))
    return b"".join(blocks)


def _directory_block(entries: list[tuple[bytes, int, int]]) -> bytes:
    names, numbers, kinds = zip(*entries, strict=True)
    offsets = itertools.accumulate(map(len, names), initial=_DIRENT.size * len(names))
    # The last offset is the end, which no name begins at.
    heads = map(_DIRENT.pack, numbers, offsets, kinds, itertools.repeat(0))
    return b"".join((*heads, *names))


def _aligned(value: int, unit: int) -> int:
    return -(-value // unit) * unit
