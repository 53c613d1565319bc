"""Digests: strictly parsed before any of it becomes a file name or a URL."""

from __future__ import annotations

import hashlib
import re

from oci_image.errors import ImageError
from oci_image.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+\Z")


class Digest(Value):
    """An algorithm that can be verified and its lower-case hex value.

    Source: image-spec descriptor.md, "Digests".
    """

    algorithm: str
    encoded: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def new_hash(self) -> _Hash:
        """A fresh hash object of the digest's algorithm."""
        return hashlib.new(self.algorithm)


def parse_digest(text: str, *, where: str = "") -> Digest:
    """Parse `algorithm:hex`; refuses algorithms that cannot be verified here."""
    algorithm, _, encoded = text.partition(":")
    if not _GRAMMAR.match(text):
        raise ImageError(f"invalid digest {text!r}", where=where, hint="a digest is algorithm:hex")
    length = _HEX_LENGTHS.get(algorithm)
    if length is None:
        known = ", ".join(_HEX_LENGTHS)
        raise ImageError(f"unsupported digest algorithm {algorithm!r}", where=where, hint=f"known: {known}")
    if len(encoded) != length or not re.fullmatch(r"[0-9a-f]+", encoded):
        raise ImageError(
            f"invalid {algorithm} digest {text!r}", where=where, hint=f"{length} lower-case hex digits"
        )
    return Digest(algorithm, encoded)
