"""What a place must be able to do so that images can be copied from it or to it."""

from __future__ import annotations

from oci_image.errors import IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
else:
    Protocol = object

PIECE = 1 << 20


class Source(Protocol):
    """One image, or one index, of a place.  Threads may share it."""

    def root(self) -> tuple[Descriptor, bytes]:
        """The manifest or index that was named, and its exact bytes, verified."""

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest or index below the root, verified."""

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A blob's bytes from `offset` on, not verified."""

    def refuse(self, descriptor: Descriptor) -> str:
        """The bytes that `blob` gave were wrong: who gave them, if it now gives another's, else ""."""

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests whose subject is `digest`."""

    def close(self) -> None:
        """Give everything back; may be called twice."""


class Destination(Protocol):
    """Where an image is to be.  Threads may share it; nothing has a name there before `commit`."""

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there already."""

    def put_blob(self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]) -> None:
        """Take a blob and verify it; IntegrityError if it is not what the descriptor says."""

    def put_document(self, descriptor: Descriptor, data: bytes) -> None:
        """Take a manifest or index that is part of another, or a referrer; all below it is there."""

    def put_referrer(self, descriptor: Descriptor, data: bytes, subject: Digest) -> None:
        """Take a manifest that refers to another one of the same copy."""

    def put_root(self, descriptor: Descriptor, data: bytes) -> None:
        """Take the manifest or index that gets the name; all below it is there."""

    def commit(self) -> None:
        """Make the result visible under its name."""

    def close(self) -> None:
        """Give everything back; without `commit` before, nothing was changed.  May be called twice."""


def read_blob(source: Source, descriptor: Descriptor) -> bytes:
    """A small blob, verified.  Raises: IntegrityError, and what `source` does."""
    while True:
        try:
            return verify_document(b"".join(source.blob(descriptor)), descriptor)
        except IntegrityError:
            if not source.refuse(descriptor):
                raise


def verified(pieces: Iterator[bytes], descriptor: Descriptor) -> Iterator[bytes]:
    """The same pieces, which end in an IntegrityError unless they are what `descriptor` says."""
    hashed, left, where = descriptor.digest.new_hash(), descriptor.size, str(descriptor.digest)
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise IntegrityError(f"blob is longer than its size of {descriptor.size} bytes", where=where)
        hashed.update(piece)
        if left or hashed.hexdigest() == descriptor.digest.encoded:
            yield piece
    if left:
        raise IntegrityError(f"blob ends {left} bytes before its size of {descriptor.size}", where=where)
    if hashed.hexdigest() != descriptor.digest.encoded:
        raise IntegrityError("blob does not match its digest", where=where)


def verify_document(data: bytes, descriptor: Descriptor) -> bytes:
    """`data`, if it is what `descriptor` says."""
    for _ in verified(iter((data,)), descriptor):
        pass
    return data
