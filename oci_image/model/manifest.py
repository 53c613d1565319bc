"""Image manifests."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.descriptor import Descriptor, decode_descriptor
from oci_image.model.document import list_of, parse_document, text_of
from oci_image.model.media_types import CONFIGS, MANIFESTS, essence
from oci_image.value import Value


class Manifest(Value):
    """Config and layers, bottom layer first.  Source: image-spec manifest.md."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def decode_manifest(data: bytes, *, where: str) -> Manifest:
    """Check and convert the manifest of a runnable image."""
    document = parse_document(data, where=where)
    if document.get("schemaVersion") == 1:
        raise ImageError(
            "Docker schema 1 manifests are not supported", where=where, hint="push the image anew"
        )
    if document.get("schemaVersion") != 2:
        raise ImageError(f"manifest has schemaVersion {document.get('schemaVersion')!r}, not 2", where=where)
    if "manifests" in document:  # CVE-2021-41190
        raise ImageError("document is an index and a manifest at once", where=where)
    media_type = essence(text_of(document, "mediaType", where=where))
    if media_type and media_type not in MANIFESTS:
        raise ImageError(f"manifest has the media type {media_type!r}", where=where)
    config = decode_descriptor(document.get("config"), where=f"{where} /config")
    if essence(config.media_type) not in CONFIGS:
        raise ImageError(
            f"config has the media type {config.media_type!r}",
            where=where,
            hint="this is an artifact, not an image",
        )
    layers = list_of(document, "layers", where=where)
    return Manifest(
        config,
        tuple(decode_descriptor(layer, where=f"{where} /layers/{n}") for n, layer in enumerate(layers)),
    )
