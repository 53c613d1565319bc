"""Image indexes, and index.json of a layout, which is one too."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.descriptor import Descriptor, decode_descriptor
from oci_image.model.document import list_of, parse_document, text_of
from oci_image.model.media_types import INDEXES, essence
from oci_image.value import Value

_MAX_ENTRIES = 10_000


class Index(Value):
    """The manifests of an index, in order.  Source: image-spec image-index.md."""

    manifests: tuple[Descriptor, ...]


def decode_index(data: bytes, *, where: str) -> Index:
    """Check and convert an index document."""
    document = parse_document(data, where=where)
    if document.get("schemaVersion") != 2:
        raise ImageError(f"index has schemaVersion {document.get('schemaVersion')!r}, not 2", where=where)
    # A document that is both could be taken for one or the other (CVE-2021-41190).
    if "layers" in document or "config" in document:
        raise ImageError("document is an index and a manifest at once", where=where)
    media_type = essence(text_of(document, "mediaType", where=where))
    if media_type and media_type not in INDEXES:
        raise ImageError(f"index has the media type {media_type!r}", where=where)
    entries = list_of(document, "manifests", where=where)
    if len(entries) > _MAX_ENTRIES:
        raise ImageError(f"index has {len(entries)} entries, more than {_MAX_ENTRIES}", where=where)
    return Index(
        tuple(decode_descriptor(entry, where=f"{where} /manifests/{n}") for n, entry in enumerate(entries))
    )
