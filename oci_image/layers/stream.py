"""The plain tar bytes of a layer, as the tar reader takes them: pieces in, exact amounts out."""

from __future__ import annotations

import errno
import os
import struct

from oci_image.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol
else:
    Protocol = object


class PieceSource(Protocol):
    """Whatever yields the plain bytes piece by piece; b"" at the end."""

    def read_piece(self) -> bytes: ...


class PlainStream:
    """Exact reads over pieces; file data is handed on as views, without copying."""

    __slots__ = ("_before", "_piece", "_position", "_source")

    def __init__(self, source: PieceSource) -> None:
        self._source = source
        self._piece = b""
        self._position = 0
        self._before = 0  # bytes of the pieces that are done with

    @property
    def offset(self) -> int:
        """How many bytes have been taken so far."""
        return self._before + self._position

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes; ImageError if the stream ends before."""
        data = self.take_up_to(size)
        if len(data) != size:
            raise ImageError("layer ends in the middle of an entry")
        return data

    def take_up_to(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end of the stream."""
        position = self._position
        end = position + size
        if end <= len(self._piece):
            self._position = end
            return self._piece[position:end]
        return b"".join(bytes(view) for view in self._views(size))

    def views(self, size: int) -> Iterator[memoryview]:
        """Exactly `size` bytes as views of the pieces; ImageError if the stream ends before."""
        remaining = size
        for view in self._views(size):
            remaining -= len(view)
            yield view
        if remaining:
            raise ImageError("layer ends in the middle of a file")

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; the number passed, fewer only at the end of the stream."""
        end = self._position + size
        if end <= len(self._piece):
            self._position = end
            return size
        return sum(len(view) for view in self._views(size))

    def drain(self) -> None:
        """Read everything that is left."""
        self._piece = b""
        self._position = 0
        while self._source.read_piece():
            pass

    def _views(self, size: int) -> Iterator[memoryview]:
        while size:
            if self._position == len(self._piece):
                self._before += self._position
                self._piece = self._source.read_piece()
                self._position = 0
                if not self._piece:
                    return
            start = self._position
            end = min(start + size, len(self._piece))
            self._position = end
            size -= end - start
            yield memoryview(self._piece)[start:end]


_WINDOW = 32 << 10


class FileStream(PlainStream):
    """The same over the first `size` bytes of a file; what is skipped is not read."""

    __slots__ = ("_end", "_fd", "_start")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._end = size
        self._position = 0
        self._start = 0  # where `_piece` lies in the file
        self._piece = b""

    @property
    def offset(self) -> int:
        return self._position

    def take_up_to(self, size: int) -> bytes:
        position = self._position
        begin = position - self._start
        end = begin + size
        if end > len(self._piece):
            if position + size > self._end:
                self._wait_for(position + size)
            size = min(size, self._end - position)
            self._piece = self._read(max(size, min(_WINDOW, self._end - position)), position)
            self._start = position
            begin, end = 0, size
        self._position = self._start + end
        return self._piece[begin:end]

    def skip(self, size: int) -> int:
        if self._position + size > self._end:
            self._wait_for(self._position + size)
        size = min(size, self._end - self._position)
        self._position += size
        return size

    def drain(self) -> None:
        self._position = self._end

    def _views(self, size: int) -> Iterator[memoryview]:
        while size and (data := self.take_up_to(min(size, 1 << 20))):
            size -= len(data)
            yield memoryview(data)

    def _wait_for(self, position: int) -> None:
        """Called before reading up to `position`, which lies behind the end that is known."""

    def _read(self, size: int, position: int) -> bytes:
        pieces = []
        while size:
            piece = os.pread(self._fd, size, position)
            if not piece:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            pieces.append(piece)
            size -= len(piece)
            position += len(piece)
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]


_SIZE = struct.Struct("=Q")


class GrowingStream(FileStream):
    """The same over a file that somebody else is writing, who says through a pipe how far."""

    __slots__ = ("_told",)

    def __init__(self, fd: int, told: int) -> None:
        """`told` is the reading end of a pipe, into which `tell_size` writes; its end is the file's end."""
        super().__init__(fd, 0)
        self._told = told

    def _wait_for(self, position: int) -> None:
        while self._end < position and (sizes := os.read(self._told, _SIZE.size << 9)):
            (self._end,) = _SIZE.unpack_from(sizes, len(sizes) - _SIZE.size)


def tell_size(pipe: int, size: int) -> None:
    """Say that so much of a file can be read; BrokenPipeError if nobody listens any more."""
    os.write(pipe, _SIZE.pack(size))
