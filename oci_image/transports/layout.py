"""`oci:DIRECTORY[:NAME]` and the store: image layouts."""

from __future__ import annotations

import contextlib

from oci_image.model.content import subject_of
from oci_image.model.media_types import MANIFESTS, essence
from oci_image.store.content import Store
from oci_image.transports.interface import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.model.reference import Reference


class LayoutSource:
    """An image of a layout."""

    def __init__(self, path: str, reference: Reference | str) -> None:
        """Open the layout; a text is looked up as names of the store are, a Reference exactly."""
        self._store = Store.open(path)
        self._reference = reference

    def root(self) -> tuple[Descriptor, bytes]:
        wanted = self._reference
        descriptor = self._store.find(wanted) if isinstance(wanted, str) else self._store.entry_of(wanted)
        return descriptor, self._store.read_document(descriptor)

    def document(self, descriptor: Descriptor) -> bytes:
        return self._store.read_document(descriptor)

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        reader = self._store.open_blob(descriptor)
        try:
            reader.skip(offset)
            while piece := reader.read(PIECE):
                yield piece
        finally:
            reader.close()

    def refuse(self, descriptor: Descriptor) -> str:
        del descriptor
        return ""  # there is no other place to have it from

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return tuple(
            entry
            for entry in self._store.index().manifests
            if essence(entry.media_type) in MANIFESTS and self._refers(entry, digest)
        )

    def _refers(self, entry: Descriptor, digest: Digest) -> bool:
        if not self._store.has_blob(entry.digest):
            return False
        subject = subject_of(self._store.read_document(entry), where=str(entry.digest))
        return subject is not None and subject.digest == digest

    def close(self) -> None:
        self._store.close()


class LayoutDestination:
    """A layout, made if there is none; the image gets `name`, or no name."""

    def __init__(self, path: str, name: str) -> None:
        self._store = Store.open(path, create=True)
        self._name = name
        self._root: Descriptor | None = None
        self._referrers: list[Descriptor] = []
        self._adding = contextlib.ExitStack()
        self._adding.enter_context(self._store.adding())

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._store.has_blob(descriptor.digest, descriptor.size)

    def put_blob(self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]) -> None:
        with self._store.write_blob(descriptor.digest, descriptor.size) as writer:
            if self.has_blob(descriptor):  # another process was faster
                writer.restart()
                return
            if writer.offset < descriptor.size:
                for piece in opener(writer.offset):
                    writer.write(piece)
            writer.commit()

    def put_document(self, descriptor: Descriptor, data: bytes) -> None:
        if not self.has_blob(descriptor):
            self.put_blob(descriptor, lambda offset: iter((data[offset:],)))

    def put_referrer(self, descriptor: Descriptor, data: bytes, subject: Digest) -> None:
        del subject  # readers of a layout look into the manifests
        self.put_document(descriptor, data)
        self._referrers.append(descriptor)

    def put_root(self, descriptor: Descriptor, data: bytes) -> None:
        self.put_document(descriptor, data)
        self._root = descriptor

    def commit(self) -> None:
        if self._root is not None and self._name:
            self._store.tag(self._root, self._name)
        elif self._root is not None:
            self._store.add_nameless(self._root)
        for descriptor in self._referrers:
            self._store.add_nameless(descriptor)

    def close(self) -> None:
        self._adding.close()
        self._store.close()
