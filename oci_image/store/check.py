"""Verifying a store: every blob that an image needs, byte for byte."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.image_config import decode_image_config
from oci_image.model.media_types import CONFIGS, INDEXES, MANIFESTS, essence
from oci_image.store.reachable import walk
from oci_image.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from oci_image.model.descriptor import Descriptor
    from oci_image.store.content import Store


class Fault(Value):
    """One thing that is wrong: the digest, and what."""

    digest: str
    what: str


class StoreCheck(Value):
    """What was read: number of blobs and bytes, manifests that are absent, and every fault."""

    blobs: int
    size: int
    absent: tuple[str, ...]
    faults: tuple[Fault, ...]


def check_store(store: Store, roots: Iterable[Descriptor] | None = None) -> StoreCheck:
    """Read and hash everything below `roots`, or else below index.json.

    Manifests of other platforms may be absent from a layout; a root, a config or a layer may not.
    """
    top = tuple(store.index().manifests if roots is None else roots)
    required = {str(descriptor.digest) for descriptor in top}
    blobs, size = 0, 0
    absent: list[str] = []
    faults: list[Fault] = []
    walking = walk(store, top)
    while True:
        try:
            descriptor = next(walking, None)
        except ImageError as error:  # the document that was just named is malformed
            faults.append(Fault(error.where, error.what))
            break
        if descriptor is None:
            break
        digest, kind = str(descriptor.digest), essence(descriptor.media_type)
        document = kind in MANIFESTS | INDEXES
        if document and digest not in required and not store.has_blob(descriptor.digest):
            absent.append(digest)
            continue
        try:
            _check_blob(store, descriptor)
        except ImageError as error:
            faults.append(Fault(digest, error.what))
        blobs += 1
        size += descriptor.size
    return StoreCheck(blobs, size, tuple(absent), tuple(faults))


def _check_blob(store: Store, descriptor: Descriptor) -> None:
    if essence(descriptor.media_type) in CONFIGS:
        decode_image_config(store.read_document(descriptor), where=str(descriptor.digest))
        return
    reader = store.open_blob(descriptor)
    try:
        reader.finish()
    finally:
        reader.close()
