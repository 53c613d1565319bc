"""One line for each image of a store."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.document import parse_document
from oci_image.model.media_types import CONFIGS, INDEXES, MANIFESTS, essence
from oci_image.store.layout import REF_NAME
from oci_image.store.reachable import walk
from oci_image.value import Value, fresh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.model.descriptor import Descriptor
    from oci_image.store.content import Store


class ImageSummary(Value):
    """Name ("" for none), digest and type of what has it, when its image was made, bytes of all its blobs."""

    name: str
    digest: str
    media_type: str
    created: str
    size: int
    platforms: tuple[str, ...]
    labels: dict[str, str] = fresh(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as data."""
        return dict(vars(self))


def list_images(store: Store) -> tuple[ImageSummary, ...]:
    """The entries of the index, in its order.  Raises: ImageError for one that is malformed."""
    return tuple(_summary(store, entry) for entry in store.index().manifests)


def _summary(store: Store, entry: Descriptor) -> ImageSummary:
    size, created = 0, ""
    platforms: list[str] = []
    labels: dict[str, str] = {}
    for part in walk(store, (entry,)):
        kind = essence(part.media_type)
        there = store.has_blob(part.digest)
        size += part.size if there else 0
        if kind in MANIFESTS and part.platform and there:
            platforms.append(str(part.platform))
        if kind in CONFIGS and there and not created:
            try:
                config = parse_document(store.read_document(part), where=str(part.digest))
            except ImageError:
                continue
            created = str(config.get("created") or "")
            settings = config.get("config")
            given = settings.get("Labels") if isinstance(settings, dict) else None
            labels = {key: str(value) for key, value in given.items()} if isinstance(given, dict) else {}
            if essence(entry.media_type) not in INDEXES:
                platforms = [f"{config.get('os')}/{config.get('architecture')}"]
    name = entry.annotations.get(REF_NAME, "")
    return ImageSummary(name, str(entry.digest), entry.media_type, created, size, tuple(platforms), labels)
