"""Compressing layers: the same bytes for the same input, however many processors there are.

gzip is cut into blocks that threads compress, each with the end of the one before as its dictionary, and
joined into one member: zlib alone takes ten times as long as reading the files.
"""

from __future__ import annotations

import collections
import os
import zlib

from pyruntime.base.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Protocol
else:
    Protocol = object

_BLOCK = 512 << 10
_DICTIONARY = 32 << 10
_LEVELS = {"gzip": (1, 9, 6), "zstd": (1, 19, 3)}  # lowest, highest, usual


class Compressor(Protocol):
    """Takes plain bytes and hands compressed ones on."""

    def write(self, data: bytes, /) -> None: ...

    def finish(self) -> None: ...


def open_compressor(name: str, level: int, write: Callable[[bytes], object]) -> Compressor:
    """A compressor "none", "gzip" or "zstd"; level 0 is the usual one.

    Raises: UsageError for an unknown name or level, HostError where zstandard is not installed.
    """
    if name == "none":
        return _Plain(write)
    if name not in _LEVELS:
        raise UsageError(f"unknown compression {name!r}", hint="known: gzip, zstd, none")
    lowest, highest, usual = _LEVELS[name]
    level = level or usual
    if not lowest <= level <= highest:
        raise UsageError(f"{name} has no level {level}", hint=f"levels are {lowest} to {highest}")
    return _Gzip(level, write) if name == "gzip" else _Zstd(level, write)


class _Plain:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write_out = write

    def write(self, data: bytes, /) -> None:
        self._write_out(data)

    def finish(self) -> None:
        pass


class _Gzip:
    def __init__(self, level: int, write: Callable[[bytes], object]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # five milliseconds, of which logging takes most

        self._level = level
        self._write_out = write
        self._pending = bytearray()
        self._dictionary = b""
        self._checksum = 0
        self._size = 0
        self._ahead = len(os.sched_getaffinity(0)) + 2
        self._pool = ThreadPoolExecutor(self._ahead - 2, "deflate")
        self._running: collections.deque[Future[bytes]] = collections.deque()
        # No name, no time, an unknown system: the header says nothing of where it was made.
        write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")

    def write(self, data: bytes, /) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._size += len(data)
        self._pending += data
        while len(self._pending) > _BLOCK:
            block = bytes(self._pending[:_BLOCK])
            del self._pending[:_BLOCK]
            self._submit(block, last=False)

    def _submit(self, block: bytes, *, last: bool) -> None:
        self._running.append(self._pool.submit(_deflate, block, self._dictionary, self._level, last=last))
        self._dictionary = block[-_DICTIONARY:]
        while len(self._running) > (0 if last else self._ahead):
            self._write_out(self._running.popleft().result())

    def finish(self) -> None:
        try:
            self._submit(bytes(self._pending), last=True)
        finally:
            self._pool.shutdown(cancel_futures=True)
        self._write_out(
            self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        )


def _deflate(block: bytes, dictionary: bytes, level: int, *, last: bool) -> bytes:
    stream = (
        zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, dictionary)
        if dictionary
        else zlib.compressobj(level, zlib.DEFLATED, -15, 8)
    )
    return stream.compress(block) + stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


class _Zstd:
    def __init__(self, level: int, write: Callable[[bytes], object]) -> None:
        try:
            import zstandard
        except ImportError:
            hint = "install the Python package zstandard, or choose gzip"
            raise HostError("this Python cannot compress with zstd", hint=hint) from None
        self._stream = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
        self._write_out = write

    def write(self, data: bytes, /) -> None:
        if compressed := self._stream.compress(data):
            self._write_out(compressed)

    def finish(self) -> None:
        self._write_out(self._stream.flush())
