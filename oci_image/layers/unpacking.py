"""All layers of an image into one new tree."""

from __future__ import annotations

import os

from oci_image.layers.create import create_tree
from oci_image.layers.planning import plan_tree
from oci_image.layers.staging import open_spool
from oci_image.layers.workers import processors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.layers.limits import Limits
    from oci_image.layers.metadata import Ownership
    from oci_image.model.image_config import ImageConfig
    from oci_image.model.manifest import Manifest
    from oci_image.store.layout import Layout


def unpack_layers(
    images: Layout,
    manifest: Manifest,
    image: ImageConfig,
    *,
    spool_fd: int,
    make_root: Callable[[], int],
    ownership: Ownership,
    limits: Limits,
    keep_links: bool = False,
) -> tuple[str, ...]:
    """Make the tree of an image in an empty directory; what could not be kept.

    The plain layers are kept in files without a name in the directory `spool_fd` meanwhile.  `make_root` makes the
    tree's own and returns a descriptor, which is closed here; it is called once the whole image is found good.

    Raises:
        ImageError, IntegrityError: a layer is not what it should be, or the file system refused an entry.
    """
    spools: list[int] = []
    try:
        spools += [open_spool(spool_fd) for _ in manifest.layers]
        tree = plan_tree(images, manifest, image, spools, limits, keep_links=keep_links)
        root_fd = make_root()
        try:
            return tuple(create_tree(root_fd, tree, spools, ownership, processors()).values())
        finally:
            os.close(root_fd)
    finally:
        for spool in spools:
            os.close(spool)
