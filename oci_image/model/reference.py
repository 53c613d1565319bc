"""Names of images in a layout: LAYOUT, LAYOUT:TAG or LAYOUT@DIGEST."""

from __future__ import annotations

from oci_image.model.digest import Digest, parse_digest
from oci_image.value import Value
from pyruntime.base.errors import UsageError


class Reference(Value):
    """An image by tag, by digest or by its place in the index; with none of them the only image is meant."""

    tag: str = ""
    digest: Digest | None = None
    position: int | None = None  # from 0

    def __str__(self) -> str:
        if self.position is not None:
            return f"@{self.position}"
        return str(self.digest) if self.digest else self.tag or "(the only image)"


def parse_image_name(text: str) -> tuple[str, Reference]:
    """Split `LAYOUT[:TAG|@DIGEST]` into the layout's directory and the reference in it.

    The directory ends at the first ':' after its last '/', so that tags may hold neither; a digest
    begins at '@'.  Without tag and digest the only image, or else the tag "latest", is meant.
    """
    directory, at, digest = text.rpartition("@")
    if at and ":" in digest and "/" not in digest:
        _check_directory(directory, text)
        return directory, Reference(digest=parse_digest(digest))
    head, slash, last = text.rpartition("/")
    name, colon, tag = last.partition(":")
    if colon and not tag:
        raise UsageError(f"image {text!r} has an empty tag")
    _check_directory(head + slash + name, text)
    return head + slash + name, Reference(tag=tag)


def _check_directory(directory: str, text: str) -> None:
    if not directory:
        raise UsageError(f"image {text!r} names no layout directory", hint="write LAYOUT[:TAG|@DIGEST]")
