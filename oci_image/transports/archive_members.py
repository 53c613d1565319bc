"""Members of a tar archive, read at their places in the file; nothing is ever extracted."""

from __future__ import annotations

import bz2
import lzma
import os
import posixpath
import shutil
import stat
import tempfile
from typing import IO, TYPE_CHECKING, cast

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.compression import READERS, ByteReader
from oci_image.layers.limits import Limits
from oci_image.layers.stream import FileStream
from oci_image.layers.tar_reader import TarReader
from oci_image.model.document import MAX_DOCUMENT_BYTES
from oci_image.transports.interface import PIECE
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_MEMBERS = 100_000
_MAX_LINKS = 20


class ArchiveMembers:
    """Names and places of the regular files in an archive, which may be compressed as a whole."""

    def __init__(self, archive: str | IO[bytes], scratch: str = "") -> None:
        """Open and index the archive, a file or an open stream; ImageError if it cannot be read or is no tar.

        What is compressed, or cannot be read at any place, is copied into a file without a name in the
        directory `scratch` (by default that of the archive).
        """
        self.path = path = archive if isinstance(archive, str) else "the stream"
        try:
            file = open(archive, "rb") if isinstance(archive, str) else archive  # noqa: SIM115 - lives longer
            self._file = _plain(file, scratch or os.path.dirname(os.path.abspath(path)))
        except (OSError, EOFError, lzma.LZMAError) as error:
            number = error.errno if isinstance(error, OSError) else None
            what = errno_text(number) if number else str(error)
            raise ImageError(f"cannot open archive: {what}", where=path) from None
        except ImageError as error:
            raise ImageError(f"cannot open archive: {error.what}", where=path) from None
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._index()
        except (ImageError, OSError) as error:
            self.close()
            what = error.what if isinstance(error, ImageError) else errno_text(error.errno or 0)
            raise ImageError(f"not a tar archive: {what}", where=path) from None
        except BaseException:
            self.close()
            raise

    def _index(self) -> None:
        """By the reader of layers: its limits hold against headers that would fill the memory."""
        stream = FileStream(self._file.fileno(), os.fstat(self._file.fileno()).st_size)
        for entry in TarReader(stream, Limits(entries=_MAX_MEMBERS)):
            name = posixpath.normpath("/" + os.fsdecode(entry.name))
            target = os.fsdecode(entry.link_name)
            if entry.kind == tar_reader.REGULAR and entry.segments is None:
                self._places[name] = (stream.offset, entry.size)
                self._links.pop(name, None)
            elif entry.kind == tar_reader.SYMBOLIC_LINK:
                self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            elif entry.kind == tar_reader.HARD_LINK:
                self._links[name] = posixpath.normpath("/" + target)

    def names(self) -> list[str]:
        """The names of all regular files, without a leading slash."""
        return [name[1:] for name in self._places]

    def place(self, name: str) -> tuple[int, int]:
        """Offset and size of a member; links inside of the archive are followed.

        Raises: ImageError if there is none.
        """
        found = posixpath.normpath("/" + name)
        for _ in range(_MAX_LINKS):
            if found in self._places:
                return self._places[found]
            if found not in self._links:
                break
            found = self._links[found]
        raise ImageError(f"archive has no {name}", where=self.path)

    def read(self, name: str) -> bytes:
        """A small member, whole."""
        offset, size = self.place(name)
        if size > MAX_DOCUMENT_BYTES:
            raise ImageError(f"{name} is larger than {MAX_DOCUMENT_BYTES} bytes", where=self.path)
        return os.pread(self._file.fileno(), size, offset)

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes of a place, piece by piece."""
        while size:
            data = os.pread(self._file.fileno(), min(size, PIECE), offset)
            if not data:
                return
            offset += len(data)
            size -= len(data)
            yield data

    def close(self) -> None:
        """Give the file back; may be called twice."""
        self._file.close()


def _plain(file: IO[bytes], scratch: str) -> IO[bytes]:
    """The file itself, or its decompressed content in a file without a name."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        spooled = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - lives as long as the object
        try:
            shutil.copyfileobj(file, spooled, PIECE)
        except BaseException:
            spooled.close()
            raise
        spooled.seek(0)
        file = cast("IO[bytes]", spooled)
    start = file.read(6)
    file.seek(0)
    openers: dict[bytes, Callable[[IO[bytes]], ByteReader]] = {
        b"\x1f\x8b": READERS["gzip"],
        b"\x28\xb5\x2f\xfd": READERS["zstd"],
        b"BZh": bz2.open,
        b"\xfd7zXZ\0": lzma.open,
    }
    for magic, opener in openers.items():
        if start.startswith(magic):
            with file:
                return _decompressed(opener(file), os.fstat(file.fileno()).st_size, scratch)
    return file


def _decompressed(reader: ByteReader, packed: int, scratch: str) -> IO[bytes]:
    """What the reader of a file of `packed` bytes yields, bounded as layers are."""
    limits, total = Limits(), 0
    plain = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - lives as long as the object
    try:
        while piece := reader.read(PIECE):
            total += len(piece)
            if total > max(limits.ratio_free_bytes, limits.ratio * packed):
                raise ImageError(f"archive is more than {limits.ratio} times as large as its file")
            plain.write(piece)
        plain.flush()
    except BaseException:
        plain.close()
        raise
    return cast("IO[bytes]", plain)
