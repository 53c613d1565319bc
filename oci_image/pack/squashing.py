"""The topmost layers of an image as one: what a layer must say instead of several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oci_image.layers.limits import Limits
from oci_image.layers.planning import check_layers, index_layers, merge_layers
from oci_image.layers.staging import open_spool
from oci_image.model.image_config import ImageConfig
from oci_image.model.manifest import Manifest
from oci_image.pack.layer import LayerBlob
from oci_image.pack.merged_tree import walk_nodes, write_tree

if TYPE_CHECKING:
    from oci_image.layers.merged import Node
    from oci_image.pack.image import History, ImageDraft
    from oci_image.store.content import Store

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def squash_layers(
    store: Store, draft: ImageDraft, keep: int, history: History, compression: str = "gzip", level: int = 0
) -> bool:
    """Make one layer of those above the lowest `keep`; False if there are not two.

    The entries of the history stay, as ones without a layer, and `history` comes on top.  Use it inside of
    `store.adding`.  Raises: ImageError, IntegrityError.
    """
    layers, diff_ids = draft.layers(), draft.diff_ids()
    if len(layers) - keep < 2:
        return False
    limits = Limits()
    manifest, image = Manifest(layers[0], layers), ImageConfig(diff_ids)
    check_layers(manifest, image, limits)
    spools: list[int] = []
    layout_fd = os.open(store.path, _DIRECTORY)
    try:
        spools += [open_spool(layout_fd) for _ in layers]
        indexes = index_layers(store, manifest, image, spools, limits)
        whole = merge_layers(manifest, indexes, limits)
        below = merge_layers(Manifest(layers[0], layers[:keep]), indexes[:keep], limits)
        written, removed = _difference(below, whole, keep)
        with LayerBlob(store, compression, level, docker=draft.is_docker) as blob:
            write_tree(blob.archive, whole, spools, written=written, removed=removed)
            blob.archive.finish()
            layer, diff_id = blob.finish()
    finally:
        for fd in (*spools, layout_fd):
            os.close(fd)
    draft.drop_layers(keep)
    draft.add_layer(layer, diff_id, history)
    return True


def _difference(below: Node, whole: Node, keep: int) -> tuple[set[bytes], set[bytes]]:
    """Paths that the layer must have an entry for, and paths that it hides."""
    before, now = dict(walk_nodes(below)), dict(walk_nodes(whole))
    written = {path for path, node in now.items() if node.layer >= keep or path not in before}
    groups_before, groups = _link_groups(before), _link_groups(now)
    for names in groups.values():
        # The names of a file go together, so that they are links of each other in the layer.
        same = names in groups_before.values() if len(names) > 1 else True
        if names & written or not same:
            written |= names
    removed = set()
    for path in before.keys() - now.keys():
        parent = now.get(path.rpartition(b"/")[0])
        if parent is not None and parent.children is not None:
            removed.add(path)
    for path in [*written, *removed]:
        above = path.rpartition(b"/")[0]
        while above and above not in written:
            written.add(above)
            above = above.rpartition(b"/")[0]
    return written, removed


def _link_groups(nodes: dict[bytes, Node]) -> dict[int, frozenset[bytes]]:
    found: dict[int, set[bytes]] = {}
    for path, node in nodes.items():
        if node.linked and node.children is None:
            found.setdefault(id(node), set()).add(path)
    return {key: frozenset(names) for key, names in found.items()}
