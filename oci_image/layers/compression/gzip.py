"""gzip, with any number of members, by isal where it is installed and by the standard library's zlib.

isal takes half the time.  OCI_IMAGE_INFLATE=zlib keeps it out, for comparison and for doubts.
"""

from __future__ import annotations

import importlib
import os
import zlib

from oci_image.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.layers.compression import ByteReader, ByteSource

_WITH_GZIP_HEADER = 31
_PIECE = 256 << 10


class _Reader:
    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._codec: Any = _codec()
        self._member = self._codec.decompressobj(_WITH_GZIP_HEADER)
        self._input = b""

    def read(self, size: int) -> bytes:
        while True:
            if not self._input:
                self._input = self._source.read(_PIECE)
            if self._member.eof and not self._next_member():
                return b""
            at_end = not self._input
            try:
                data: bytes = self._member.decompress(self._input, size)
            except self._codec.error as error:
                raise ImageError(f"gzip data is damaged: {error}") from None
            self._input = self._member.unused_data or self._member.unconsumed_tail
            if data:
                return data
            if at_end and not self._member.eof:
                raise ImageError("gzip data ends too early")

    def _next_member(self) -> bool:
        """Whether another member follows; zero bytes after the last one are padding."""
        while True:
            self._input = self._input.lstrip(b"\0")
            if self._input:
                break
            self._input = self._source.read(_PIECE)
            if not self._input:
                return False
        if self._input[0] != 0x1F:
            raise ImageError("garbage after the end of the gzip data")
        self._member = self._codec.decompressobj(_WITH_GZIP_HEADER)
        return True


def _codec() -> Any:  # noqa: ANN401 - modules with the same functions
    if os.environ.get("OCI_IMAGE_INFLATE") != "zlib":
        try:
            return importlib.import_module("isal.isal_zlib")
        except ImportError:
            pass
    return zlib


def open_reader(source: ByteSource) -> ByteReader:
    """The plain bytes of gzip data."""
    return _Reader(source)
