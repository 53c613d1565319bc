"""The layers of an image merged in memory: what the final tree is, before any of it exists.

Paths are resolved here as the kernel would inside the root, on the tree of nodes; nothing is looked up on
any disk.  What upper layers hide or replace is simply gone from the tree and is never made.

Source: image-spec layer.md, "Applying Changesets".
"""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.indexing import HIDE, HIDE_ALL, Item
from oci_image.layers.rootdir import show
from oci_image.layers.tar_header import NO_XATTRS, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.layers.limits import Limits

_SLASH = ord("/")
_MAX_LINKS = 40  # of one resolution, as the kernel


class Node(Entry):
    """An inode of the final tree: its entry, where its data lie, and for a directory what is in it.

    Hard links are one node under several names.
    """

    __slots__ = ("children", "layer", "linked", "offset")

    children: dict[bytes, Node] | None
    layer: int  # the layer that made or last listed it, from 0
    linked: bool  # it may have a second name
    offset: int  # of the data in the layer's plain tar


_new = Node.__new__


def make_node(item: Item, layer: int) -> Node:
    """The node that an item asks for."""
    node = _new(Node)
    fill_node(node, item, layer)
    node.children = {} if item[2] == tar_reader.DIRECTORY else None
    node.linked = False
    return node


def _path(item: Item) -> bytes:
    """What an entry is called in messages."""
    return item[0] + b"/" + item[1] if item[0] else item[1]


def fill_node(node: Node, item: Item, layer: int) -> None:
    """Give a node the attributes of an item."""
    (_, _, node.kind, node.mode, node.uid, node.gid, node.modification_time, node.size, node.offset, more) = (
        item
    )
    node.layer = layer
    if more is None:
        node.access_time = None
        node.file_size = node.size
        node.link_name = b""
        node.device_major = node.device_minor = 0
        node.xattrs = NO_XATTRS
        node.segments = None
    else:
        (node.access_time, node.file_size, node.link_name, node.device_major, node.device_minor,
         node.xattrs, node.segments) = more  # fmt: skip


_WHITEOUTS = frozenset((HIDE, HIDE_ALL))
_INODES = frozenset(
    (tar_reader.REGULAR, tar_reader.SYMBOLIC_LINK, tar_reader.DIRECTORY, tar_reader.FIFO,
     tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE)
)  # fmt: skip
# What a directory gets that no layer lists: 0755 root, and a time that does not vary.
_IMPLIED: Item = (b"", b"", tar_reader.DIRECTORY, 0o755, 0, 0, 0, 0, 0, None)


class MergedTree:
    """Takes layers bottom first; `root` is the result."""

    def __init__(self, limits: Limits, *, keep_links: bool = False) -> None:
        self.root = make_node(_IMPLIED, -1)
        self._item = _IMPLIED  # the one being merged, for messages
        self._limits = limits
        self._keep_links = keep_links  # a directory entry over a link to a directory leaves the link
        self._layer = -1
        self._implied = 0
        self._parents: dict[bytes, dict[bytes, Node]] = {}
        self._listed: dict[bytes, bytes] | None = None  # paths and kinds of this layer, if that was asked

    def add_layer(self, items: list[Item]) -> None:
        """Put a layer on top; ImageError names the entry at fault.

        Whiteouts act on the layers below only, wherever in the archive they stand, so they come first.
        """
        self._layer += 1
        self._parents.clear()
        try:
            for item in items:
                if item[2] in _WHITEOUTS:
                    self._hide(item, items)
            self._listed = None
            self._parents.clear()
            for item in self._add_all(items):
                if not self._add(item):
                    raise ImageError(f"target of hard link {show(item[9][2])} is not in the image")
        except ImageError as error:
            raise ImageError(error.what, where=f"entry {show(_path(self._item))}", hint=error.hint) from error

    def _add_all(self, items: list[Item]) -> list[Item]:
        """Add what is not a whiteout; the hard links whose targets are not there yet."""
        late = []
        parents = self._parents
        for item in items:
            inside = parents.get(item[0])
            # The usual case: a new name in a directory that has occurred before.
            if inside is not None and item[2] in _INODES and item[1] and item[1] not in inside:
                inside[item[1]] = make_node(item, self._layer)
            elif item[2] not in _WHITEOUTS and not self._add(item):
                late.append(item)
        return late

    def _hide(self, item: Item, items: list[Item]) -> None:
        self._item = item
        parent = self._resolve(item[0])
        if parent is None or self._replaces_link(item[0], items):
            return
        if item[2] == HIDE_ALL:
            parent.clear()
        else:
            parent.pop(item[1], None)

    def _replaces_link(self, path: bytes, items: list[Item]) -> bool:
        """Whether the layer itself has something else for a link on the way to `path`, which exists.

        A directory that takes the place of a link is marked opaque by overlayfs, and that says nothing of where
        the link led.
        """
        inside = self.root.children
        for end in [*(i for i, byte in enumerate(path) if byte == _SLASH), len(path)] if path else ():
            assert inside is not None
            prefix = path[:end]
            child = inside.get(prefix.rpartition(b"/")[2])
            if child is not None and child.kind == tar_reader.SYMBOLIC_LINK:
                if self._listed is None:
                    self._listed = {_path(item): item[2] for item in items if item[2] not in _WHITEOUTS}
                kind = self._listed.get(prefix)
                if kind is not None and not (self._keep_links and kind == tar_reader.DIRECTORY):
                    return True
            inside = child.children if child is not None else None
            if inside is None:
                inside = self._resolve(prefix)
        return False

    def _add(self, item: Item) -> bool:
        """False if the target of a hard link is not there yet."""
        self._item = item
        path, name, kind = item[:3]
        if not name:
            fill_node(self.root, item, self._layer)
            return True
        if kind == tar_reader.HARD_LINK:
            return self._add_link(item)
        parent = self._parents.get(path)
        if parent is None:
            parent = self._parent(path)
        there = parent.get(name)
        if there is None:
            parent[name] = make_node(item, self._layer)
            return True
        if kind == tar_reader.DIRECTORY:
            if there.children is not None:
                fill_node(there, item, self._layer)
                return True
            is_link = there.kind == tar_reader.SYMBOLIC_LINK
            if self._keep_links and is_link and self._resolve(_path(item)) is not None:
                return True
        self._replace(parent, name, there, make_node(item, self._layer))
        return True

    def _replace(self, parent: dict[bytes, Node], name: bytes, old: Node, new: Node) -> None:
        # Where a directory or link was, paths may lead elsewhere now.
        if old.children is not None or old.kind == tar_reader.SYMBOLIC_LINK:
            self._parents.clear()
        parent[name] = new

    def _add_link(self, item: Item) -> bool:
        """A hard link: its target is a path in the image, whose last component is not followed."""
        target: bytes = item[9][2]
        directory, _, target_name = target.rpartition(b"/")
        source = self._resolve(directory)
        node = source.get(target_name) if source is not None else None
        if node is None:
            return False
        if node.children is not None:
            raise ImageError(f"target of hard link {show(target)} is a directory")
        parent = self._parent(item[0])
        there = parent.get(item[1])
        if there is not node:  # a link to itself must not remove its target
            node.linked = True
            if there is None:
                parent[item[1]] = node
            else:
                self._replace(parent, item[1], there, node)
        return True

    def _parent(self, path: bytes) -> dict[bytes, Node]:
        """The content of the directory that an entry goes into, made if the layer left it out."""
        found = self._parents.get(path)
        if found is None:
            found = self._resolve(path)
            if found is None:
                found = self._make_parents(path)
            self._parents[path] = found
        return found

    def _make_parents(self, path: bytes) -> dict[bytes, Node]:
        inside = self.root.children
        assert inside is not None
        parts = path.split(b"/")
        for count, name in enumerate(parts, 1):
            child = inside.get(name)
            if child is not None and child.children is not None:
                inside = child.children
                continue
            prefix = b"/".join(parts[:count])
            if child is not None:
                followed = self._resolve(prefix)
                if followed is not None:
                    inside = followed
                    continue
                # A file of a lower layer gives way to the directory that an entry implies; nothing else.
                if child.kind == tar_reader.SYMBOLIC_LINK or child.layer == self._layer:
                    raise ImageError(f"parent {show(prefix)} is not a directory")
            self._implied += 1
            if self._implied > self._limits.entries:
                raise ImageError(f"entries imply more than {self._limits.entries} directories")
            made = make_node(_IMPLIED, self._layer)
            inside[name] = made
            assert made.children is not None
            inside = made.children
        return inside

    def _resolve(self, path: bytes) -> dict[bytes, Node] | None:
        """The content of the directory at `path`, links followed inside the root; None if there is none."""
        root = self.root.children
        assert root is not None
        if not path:
            return root
        stack = [root]
        todo = path.split(b"/")
        todo.reverse()
        links = 0
        while todo:
            name = todo.pop()
            if name == b"..":
                if len(stack) > 1:
                    stack.pop()
                continue
            if not name or name == b".":
                continue
            child = stack[-1].get(name)
            if child is None:
                return None
            if child.children is not None:
                stack.append(child.children)
            elif child.kind == tar_reader.SYMBOLIC_LINK:
                links += 1
                if links > _MAX_LINKS:
                    raise ImageError("too many levels of symbolic links")
                if child.link_name.startswith(b"/"):
                    del stack[1:]
                todo += reversed(child.link_name.split(b"/"))
            else:
                return None
        return stack[-1]
