"""Documents as they are copied: any config and any layer type, artifacts included."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.descriptor import Descriptor, decode_descriptor
from oci_image.model.document import list_of, parse_document, text_of
from oci_image.model.index import decode_index
from oci_image.model.media_types import INDEXES, MANIFESTS, essence


def children_of(data: bytes, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """The descriptors in a manifest (config, then layers) or an index, whatever their types.

    Raises: ImageError if the document is malformed, or is not of its descriptor's type.
    """
    where = str(descriptor.digest)
    kind = essence(descriptor.media_type)
    if kind in INDEXES:
        return decode_index(data, where=where).manifests
    if kind not in MANIFESTS:
        raise ImageError(f"{descriptor.media_type!r} is no manifest", where=where)
    document = parse_document(data, where=where)
    if document.get("schemaVersion") != 2:
        raise ImageError(f"manifest has schemaVersion {document.get('schemaVersion')!r}, not 2", where=where)
    if "manifests" in document:  # CVE-2021-41190
        raise ImageError("document is an index and a manifest at once", where=where)
    inside = essence(text_of(document, "mediaType", where=where))
    if inside and inside != kind:
        raise ImageError(f"manifest of type {kind!r} says that it is {inside!r}", where=where)
    layers = list_of(document, "layers", where=where)
    return (
        decode_descriptor(document.get("config"), where=f"{where} /config"),
        *(decode_descriptor(layer, where=f"{where} /layers/{n}") for n, layer in enumerate(layers)),
    )


def subject_of(data: bytes, *, where: str) -> Descriptor | None:
    """The manifest that this one refers to, if it is a referrer."""
    subject = parse_document(data, where=where).get("subject")
    return decode_descriptor(subject, where=f"{where} /subject") if subject is not None else None
