"""Descriptors: what a document says of the bytes it points to."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.digest import Digest, parse_digest
from oci_image.model.document import object_of, text_map_of, text_of, texts_of
from oci_image.model.platform import Platform
from oci_image.value import Value, fresh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_SIZE = (1 << 63) - 1


class Descriptor(Value):
    """Media type, digest and size in bytes of a blob.  Source: image-spec descriptor.md."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = fresh(default_factory=dict)
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The required properties, as they are written into other documents."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}

    def to_entry(self) -> dict[str, Any]:
        """All properties that are known here, as an entry of an index."""
        entry = self.to_json()
        if self.platform:
            named = {
                "architecture": self.platform.architecture,
                "os": self.platform.os,
                "variant": self.platform.variant,
            }
            entry["platform"] = {key: value for key, value in named.items() if value}
        if self.artifact_type:
            entry["artifactType"] = self.artifact_type
        if self.urls:
            entry["urls"] = list(self.urls)
        if self.annotations:
            entry["annotations"] = dict(self.annotations)
        return entry


def decode_descriptor(value: object, *, where: str) -> Descriptor:
    """Check and convert one descriptor; `where` names the document and the place in it."""
    if not isinstance(value, dict):
        raise ImageError("descriptor is not a JSON object", where=where)
    size = value.get("size")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise ImageError(f"descriptor has an invalid size {size!r}", where=where)
    media_type = text_of(value, "mediaType", where=where)
    if not media_type:
        raise ImageError("descriptor has no mediaType", where=where)
    platform = object_of(value, "platform", where=where)
    return Descriptor(
        media_type=media_type,
        digest=parse_digest(text_of(value, "digest", where=where), where=where),
        size=size,
        platform=decode_platform(platform, where=where) if platform else None,
        annotations=text_map_of(value, "annotations", where=where),
        artifact_type=text_of(value, "artifactType", where=where),
        urls=texts_of(value, "urls", where=where),
    )


def decode_platform(value: dict[str, Any], *, where: str) -> Platform:
    """The platform object of a descriptor, or the same properties of an image config."""
    system, architecture, variant = (
        text_of(value, name, where=where) for name in ("os", "architecture", "variant")
    )
    return Platform(system, architecture, variant)
