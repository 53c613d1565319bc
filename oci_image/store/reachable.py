"""What an image consists of: every descriptor that can be reached from index.json."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.content import children_of
from oci_image.model.media_types import INDEXES, MANIFESTS, essence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oci_image.model.descriptor import Descriptor
    from oci_image.store.content import Store

_MAX_NODES = 100_000


def walk(store: Store, roots: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """Each descriptor below `roots` once, parents first.  Manifests that are absent have no children.

    Raises: ImageError for a document that is malformed, IntegrityError for one that was altered.
    """
    waiting = list(roots)[::-1]
    seen: set[str] = set()
    while waiting:
        descriptor = waiting.pop()
        if str(descriptor.digest) in seen:
            continue
        seen.add(str(descriptor.digest))
        if len(seen) > _MAX_NODES:
            raise ImageError(f"images consist of more than {_MAX_NODES} blobs", where=store.path)
        yield descriptor
        if essence(descriptor.media_type) in INDEXES | MANIFESTS and store.has_blob(descriptor.digest):
            data = store.read_document(descriptor)
            waiting.extend(reversed(children_of(data, descriptor)))


def reachable_digests(store: Store) -> set[str]:
    """The digests of everything that index.json leads to."""
    return {str(descriptor.digest) for descriptor in walk(store, store.index().manifests)}
