"""From a manifest to the tree that its layers make: everything checked, and nothing made yet."""

from __future__ import annotations

import functools

from oci_image.errors import ImageError
from oci_image.layers.indexing import Item, index_layer, unpack_items
from oci_image.layers.merged import MergedTree, Node
from oci_image.layers.workers import processors, run_balanced
from oci_image.model.media_types import LAYERS, essence
from pyruntime.base.errors import ExpectedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from oci_image.layers.limits import Limits
    from oci_image.model.descriptor import Descriptor
    from oci_image.model.image_config import ImageConfig
    from oci_image.model.manifest import Manifest
    from oci_image.store.layout import Layout


def check_layers(manifest: Manifest, image: ImageConfig, limits: Limits) -> None:
    """Refuse what can be refused by the documents alone; ImageError."""
    if len(manifest.layers) != len(image.diff_ids):
        raise ImageError(
            f"manifest has {len(manifest.layers)} layers, its config {len(image.diff_ids)} diff IDs",
            where=str(manifest.config.digest),
        )
    if len(manifest.layers) > limits.layers:
        raise ImageError(f"image has {len(manifest.layers)} layers, more than {limits.layers}")
    for layer in manifest.layers:
        if essence(layer.media_type) not in LAYERS:
            hint = "encrypted layers and lazy formats cannot be unpacked"
            raise ImageError(
                f"unknown layer media type {layer.media_type!r}", where=str(layer.digest), hint=hint
            )


def plan_tree(
    images: Layout,
    manifest: Manifest,
    image: ImageConfig,
    spool_fds: Sequence[int],
    limits: Limits,
    *,
    keep_links: bool = False,
) -> Node:
    """The root of the final tree; the plain layers are then in the empty files `spool_fds`, in order.

    All layers are read, verified and indexed at the same time.  Errors name the layer and the entry.
    """
    indexes = index_layers(images, manifest, image, spool_fds, limits)
    return merge_layers(manifest, indexes, limits, keep_links=keep_links)


def index_layers(
    images: Layout, manifest: Manifest, image: ImageConfig, spool_fds: Sequence[int], limits: Limits
) -> list[list[Item]]:
    """What is in each layer, for `merge_layers`; the plain layers are then in `spool_fds`."""
    jobs = [
        functools.partial(_index, images, layer, image, position, spool_fds[position], limits)
        for position, layer in enumerate(manifest.layers)
    ]
    return run_balanced(jobs, [layer.size for layer in manifest.layers], processors(), take=unpack_items)


def merge_layers(
    manifest: Manifest, indexes: Sequence[list[Item]], limits: Limits, *, keep_links: bool = False
) -> Node:
    """The root of the tree that indexed layers make; errors name the layer and the entry."""
    tree = MergedTree(limits, keep_links=keep_links)
    for position, layer in enumerate(manifest.layers):
        try:
            tree.add_layer(indexes[position])
        except ExpectedError as error:
            raise named_layer(error, layer, position, len(manifest.layers)) from error
    return tree.root


def _index(
    images: Layout, layer: Descriptor, image: ImageConfig, position: int, spool_fd: int, limits: Limits
) -> bytes:
    try:
        diff_id = image.diff_ids[position]
        return index_layer(images.open_blob(layer), layer.size, diff_id, spool_fd, limits)
    except ExpectedError as error:
        raise named_layer(error, layer, position, len(image.diff_ids)) from error


def named_layer(error: ExpectedError, layer: Descriptor, position: int, count: int) -> ExpectedError:
    """The same error, with the layer in front of its place."""
    named = f"layer {position + 1} of {count}, {layer.digest}"
    where = f"{named}: {error.where}" if error.where and error.where != str(layer.digest) else named
    return type(error)(error.what, where=where, hint=error.hint)
