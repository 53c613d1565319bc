"""Compressions of layers, by the name that media types promise and by magic number.

A compression is a module with `open_reader(source)`, whose result has `read(size) -> bytes`, at most
`size` bytes, b"" at the end, ImageError if the data is damaged.  The reader must never hold more than
about `size` bytes of plain data, however well they compress.
"""

from __future__ import annotations

from oci_image.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol
else:
    Protocol = object


class ByteSource(Protocol):
    """Where compressed bytes come from; b"" at the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class ByteReader(Protocol):
    """Plain bytes."""

    def read(self, size: int, /) -> bytes: ...


def _none(source: ByteSource) -> ByteReader:
    return source


def _gzip(source: ByteSource) -> ByteReader:
    from oci_image.layers.compression.gzip import open_reader

    return open_reader(source)


def _zstd(source: ByteSource) -> ByteReader:
    from oci_image.layers.compression.zstd import open_reader

    return open_reader(source)


# A codec is imported when a layer needs it: zstandard alone takes 10 ms.
READERS: dict[str, Callable[[ByteSource], ByteReader]] = {"none": _none, "gzip": _gzip, "zstd": _zstd}
MAGICS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_REFUSED_MAGICS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


def detect(first_bytes: bytes) -> str:
    """The compression that data starting with `first_bytes` has.

    The bytes are believed more than the media type, as Docker does: labels are wrong in the field, and
    digest and diff ID settle whether the content is right.
    """
    for magic, name in _REFUSED_MAGICS.items():
        if first_bytes.startswith(magic):
            raise ImageError(f"layer is compressed with {name}, which the image specification does not have")
    for magic, name in MAGICS.items():
        if first_bytes.startswith(magic):
            return name
    # Skippable frames have sixteen magics and may come before the first zstd frame.
    if first_bytes[1:4] == b"\x2a\x4d\x18" and first_bytes[0] & 0xF0 == 0x50:
        return "zstd"
    return "none"
