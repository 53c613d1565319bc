"""What a layer must say so that one tree becomes another.

The old tree is the one that the image's layers make, the new one is on disk.  Type, mode, owner, time,
size, target, device, attributes and the names of hard links are compared first; files in which all that is
the same are compared byte by byte.
"""

from __future__ import annotations

import os

from oci_image.layers import tar_reader
from oci_image.layers.metadata import is_dropped
from oci_image.pack.disk import open_found
from oci_image.pack.merged_tree import walk_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from oci_image.layers.merged import Node
    from oci_image.pack.disk import Found

_PIECE = 1 << 20


class Comparison:
    """Compares the tree `new`, below `root_fd`, with the tree `old`, whose data are in `spool_fds`.

    `masked` paths and all below them are taken for unchanged.  After `run`: `written` has the paths that the
    layer must have an entry for, `removed` those that the layer hides, both without order.
    """

    def __init__(
        self, old: Node, new: Found, spool_fds: Sequence[int], root_fd: int, *, masked: Collection[bytes] = (),
        rootless: bool = False,
    ) -> None:  # fmt: skip
        self._old = old
        self._new = new
        self._spools = spool_fds
        self._root_fd = root_fd
        self._masked = frozenset(masked)
        self._rootless = rootless
        self.written: set[bytes] = set()
        self.added: set[bytes] = set()
        self.removed: set[bytes] = set()

    def run(self) -> None:
        """Compare; raises OSError if a file cannot be read."""
        if self._differ(self._old, self._new):
            self.written.add(b"")
        self._descend(self._old, self._new)
        self._keep_links_together()
        self._add_parents()

    def _descend(self, old: Node, new: Found) -> None:
        there, here = old.children or {}, new.children or {}
        for name, child in here.items():
            if child.name in self._masked:
                continue
            before = there.get(name)
            if before is None:
                self._add_all(child)
            else:
                if self._differ(before, child):
                    self.written.add(child.name)
                if child.children is None:
                    continue
                if before.children is None:
                    for below in child.children.values():
                        self._add_all(below)
                else:
                    self._descend(before, child)
        for name in there.keys() - here.keys():
            path = new.name + b"/" + name if new.name else name
            if path not in self._masked:
                self.removed.add(path)

    def _add_all(self, found: Found) -> None:
        for each in walk(found):
            if not self._is_masked(each.name):
                self.written.add(each.name)
                self.added.add(each.name)

    def _is_masked(self, path: bytes) -> bool:
        return any(path == mask or path.startswith(mask + b"/") for mask in self._masked)

    def _differ(self, old: Node, new: Found) -> bool:
        if self._rootless and _stands_for_device(old, new):
            return False
        if old.kind != new.kind:
            return True
        if not new.owner_known:
            new.uid, new.gid = old.uid, old.gid
        if self._rootless:
            # Without root these could not be set, so that they are missing means nothing.
            for name, value in old.xattrs.items():
                if not name.startswith(b"user."):
                    new.xattrs.setdefault(name, value)
        return attributes(old) != attributes(new) or (
            new.kind == tar_reader.REGULAR and new.file_size > 0 and not self._same_content(old, new)
        )

    def _same_content(self, old: Node, new: Found) -> bool:
        fd = open_found(self._root_fd, new.name)
        try:
            position, spool = 0, self._spools[old.layer]
            offset = old.offset
            segments = old.segments if old.segments is not None else [(0, old.file_size)]
            for begin, length in [*segments, (old.file_size, 0)]:
                if not _is_zero(fd, position, begin) or not same_bytes(fd, begin, spool, offset, length):
                    return False
                position = begin + length
                offset += length
        finally:
            os.close(fd)
        return True

    def _keep_links_together(self) -> None:
        """If one name of a file is written, or its names are not what they were, all are written."""
        before: dict[int, set[bytes]] = {}
        group_of: dict[bytes, int] = {}
        for path, node in walk_nodes(self._old):
            if node.linked and node.children is None:
                before.setdefault(id(node), set()).add(path)
                group_of[path] = id(node)
        now: dict[int, set[bytes]] = {}
        lone = []
        for found in walk(self._new):
            if found.inode:
                now.setdefault(found.inode, set()).add(found.name)
            elif found.name in group_of and found.children is None:
                lone.append({found.name})
        for names in [*now.values(), *lone]:
            was = before.get(group_of.get(min(names), 0), set())
            same = names == was if was else len(names) == 1
            if (not same or names & self.written) and not any(self._is_masked(name) for name in names):
                self.written |= names

    def _add_parents(self) -> None:
        """Directories above a change: whoever unpacks layer by layer must not invent their attributes."""
        for path in [*self.written, *self.removed]:
            above = path.rpartition(b"/")[0]
            while above and above not in self.written:
                self.written.add(above)
                above = above.rpartition(b"/")[0]


def walk(found: Found) -> Iterator[Found]:
    """The tree below and including `found`, parents first, names in order of their bytes."""
    todo = [found]
    while todo:
        each = todo.pop()
        yield each
        if each.children:
            todo += reversed(each.children.values())


def attributes(node: Node | Found) -> tuple[object, ...]:
    """What has to be the same, except for content."""
    is_link = node.kind == tar_reader.SYMBOLIC_LINK
    is_device = node.kind in (tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE)
    keeps_user = node.kind in (tar_reader.REGULAR, tar_reader.DIRECTORY)
    return (
        None if is_link else node.mode,
        node.uid,
        node.gid,
        node.modification_time,
        node.file_size if node.kind == tar_reader.REGULAR else 0,
        node.link_name if is_link else b"",
        (node.device_major, node.device_minor) if is_device else None,
        {
            key: value
            for key, value in node.xattrs.items()
            if not is_dropped(key) and (keeps_user or not key.startswith(b"user."))
        },
    )


def _stands_for_device(old: Node, new: Found) -> bool:
    """Without root a device is unpacked as an empty file that nobody may open."""
    return (
        old.kind in (tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE)
        and new.kind == tar_reader.REGULAR
        and new.file_size == 0
        and new.mode == 0
    )


def _is_zero(fd: int, begin: int, end: int) -> bool:
    while begin < end:
        piece = os.pread(fd, min(_PIECE, end - begin), begin)
        if not piece or piece.strip(b"\0"):
            return False
        begin += len(piece)
    return True


def same_bytes(fd: int, position: int, spool_fd: int, offset: int, length: int) -> bool:
    """Whether `length` bytes of two files are the same, from `position` and `offset` on; raises OSError."""
    while length:
        size = min(length, _PIECE)
        old, new = os.pread(spool_fd, size, offset), os.pread(fd, size, position)
        if old != new or not old:
            return False
        offset += len(old)
        position += len(old)
        length -= len(old)
    return True
