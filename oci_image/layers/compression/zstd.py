"""zstd, with any number of frames, by the zstandard package."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, cast

from oci_image.errors import ImageError
from pyruntime.base.errors import HostError

if TYPE_CHECKING:
    from oci_image.layers.compression import ByteReader, ByteSource

# Frames that need a larger window are refused, as other decoders do by default.
_MAX_WINDOW_BYTES = 128 << 20


class _Reader:
    def __init__(self, source: ByteSource) -> None:
        try:
            import zstandard
        except ImportError:
            hint = "install the Python package zstandard"
            raise HostError("this Python cannot decompress zstd layers", hint=hint) from None
        self._failure = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        self._stream = decompressor.stream_reader(
            cast("IO[bytes]", source), read_across_frames=True, closefd=False
        )

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except self._failure as error:
            raise ImageError(f"zstd data is damaged: {error}") from None


def open_reader(source: ByteSource) -> ByteReader:
    """The plain bytes of zstd data."""
    return _Reader(source)
