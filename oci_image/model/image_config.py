"""The image's config: what is in the root file system and how to run it."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.descriptor import decode_platform
from oci_image.model.digest import Digest, parse_digest
from oci_image.model.document import object_of, parse_document, text_map_of, text_of, texts_of
from oci_image.model.platform import Platform
from oci_image.value import Value, fresh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ImageConfig(Value):
    """The properties that unpacking needs.  Source: image-spec config.md."""

    diff_ids: tuple[Digest, ...]
    platform: Platform = Platform("", "")
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    author: str = ""
    created: str = ""
    user: str = ""
    environment: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_directory: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = fresh(default_factory=dict)


def decode_image_config(data: bytes, *, where: str) -> ImageConfig:
    """Check and convert an image config document."""
    document = parse_document(data, where=where)
    rootfs = object_of(document, "rootfs", where=where)
    if rootfs.get("type") != "layers":
        raise ImageError(f"config has rootfs.type {rootfs.get('type')!r}, not 'layers'", where=where)
    settings: dict[str, Any] = object_of(document, "config", where=where)
    inside = f"{where} /config"
    return ImageConfig(
        diff_ids=tuple(parse_digest(text, where=where) for text in texts_of(rootfs, "diff_ids", where=where)),
        platform=decode_platform(document, where=where),
        os_version=text_of(document, "os.version", where=where),
        os_features=texts_of(document, "os.features", where=where),
        author=text_of(document, "author", where=where),
        created=text_of(document, "created", where=where),
        user=text_of(settings, "User", where=inside),
        environment=texts_of(settings, "Env", where=inside),
        entrypoint=texts_of(settings, "Entrypoint", where=inside),
        command=texts_of(settings, "Cmd", where=inside),
        working_directory=text_of(settings, "WorkingDir", where=inside),
        stop_signal=text_of(settings, "StopSignal", where=inside),
        exposed_ports=tuple(sorted(object_of(settings, "ExposedPorts", where=inside))),
        volumes=tuple(sorted(object_of(settings, "Volumes", where=inside))),
        labels=text_map_of(settings, "Labels", where=inside),
    )
