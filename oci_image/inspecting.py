"""What can be said of an image from its documents alone."""

from __future__ import annotations

from oci_image.copying import choose_platform
from oci_image.errors import ImageError
from oci_image.locations import open_source
from oci_image.model.content import children_of
from oci_image.model.document import MAX_DOCUMENT_BYTES, list_of, object_of, parse_document
from oci_image.model.media_types import CONFIGS, INDEXES, essence
from oci_image.model.platform import Platform, host_platform
from oci_image.transports.interface import read_blob
from oci_image.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.model.descriptor import Descriptor
    from oci_image.registry.options import RegistryOptions
    from oci_image.transports.interface import Source


class ImageDocuments(Value):
    """The manifest of an image on one platform, its parts, and its config (empty for an artifact)."""

    root: Descriptor
    manifest: Descriptor
    manifest_bytes: bytes
    config_bytes: bytes
    config: dict[str, Any]
    layers: tuple[Descriptor, ...]


class HistoryStep(Value):
    """One step of an image's making, and the bytes of the blob that it added, if it added one."""

    created: str
    created_by: str
    comment: str
    author: str
    size: int
    layer: str


def inspect_image(
    name: str, platform: Platform | None = None, *, store: str = "", registry: RegistryOptions | None = None
) -> ImageDocuments:
    """Manifest and config of the image of any place on `platform`.  Raises: UsageError, ImageError."""
    source = open_source(name, store=store, registry=registry)
    try:
        return read_image(source, platform)
    finally:
        source.close()


def read_raw_manifest(name: str, *, store: str = "", registry: RegistryOptions | None = None) -> bytes:
    """The exact bytes of the manifest or index of any place.  Raises: UsageError, ImageError."""
    source = open_source(name, store=store, registry=registry)
    try:
        return source.root()[1]
    finally:
        source.close()


def read_image(source: Source, platform: Platform | None = None) -> ImageDocuments:
    """Manifest and config of the image of `source` on `platform`.  Raises: ImageError."""
    root, data = source.root()
    manifest, data = choose_platform(source, root, data, platform or host_platform())
    if essence(manifest.media_type) in INDEXES:
        raise ImageError("image is an index", where=str(manifest.digest))
    config, *layers = children_of(data, manifest)
    if config.size > MAX_DOCUMENT_BYTES:
        raise ImageError(f"config of {config.size} bytes is too large", where=str(config.digest))
    raw = read_blob(source, config)
    known = essence(config.media_type) in CONFIGS
    document = parse_document(raw, where=str(config.digest)) if known else {}
    return ImageDocuments(root, manifest, data, raw, document, tuple(layers))


def describe_image(image: ImageDocuments, name: str) -> dict[str, Any]:
    """The summary that `skopeo inspect` gives, with the same keys."""
    settings = object_of(image.config, "config", where=str(image.manifest.digest))
    return {
        "Name": name,
        "Digest": str(image.root.digest),
        "RepoTags": [],  # a repository may have thousands
        "Created": image.config.get("created"),
        "DockerVersion": image.config.get("docker_version", ""),
        "Labels": settings.get("Labels"),
        "Architecture": image.config.get("architecture", ""),
        "Variant": image.config.get("variant", ""),
        "Os": image.config.get("os", ""),
        "Layers": [str(layer.digest) for layer in image.layers],
        "LayersData": [
            {
                "MIMEType": layer.media_type,
                "Digest": str(layer.digest),
                "Size": layer.size,
                "Annotations": layer.annotations or None,
            }
            for layer in image.layers
        ],
        "Env": settings.get("Env"),
    }


def read_history(image: ImageDocuments) -> tuple[HistoryStep, ...]:
    """The steps, oldest first; layers beyond a history that is too short are steps of their own."""
    where = str(image.manifest.digest)
    waiting = list(image.layers)
    steps = []
    for entry in list_of(image.config, "history", where=where):
        if not isinstance(entry, dict):
            raise ImageError("history entry is not an object", where=where)
        layer = waiting.pop(0) if waiting and not entry.get("empty_layer") else None
        created, command, comment, author = (
            str(entry.get(key) or "") for key in ("created", "created_by", "comment", "author")
        )
        blob = (layer.size, str(layer.digest)) if layer else (0, "")
        steps.append(HistoryStep(created, command, comment, author, *blob))
    steps.extend(HistoryStep("", "", "", "", layer.size, str(layer.digest)) for layer in waiting)
    return tuple(steps)
