"""Strict reader of tar archives: v7, ustar, pax and GNU, sparse files in all four forms.

Python's tarfile is not used: it guesses where archives are malformed, its filters check strings instead
of descriptors, and it takes four times as long.  One parser decides both what an entry is and where the
next header lies, and a size given by pax decides both (CVE-2025-62518 came from two parsers disagreeing).
"""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.layers.pax import apply_records, parse_records
from oci_image.layers.sparse import apply_pax_sparse, read_old_gnu_map
from oci_image.layers.tar_header import BLOCK, GNU_MAGIC, Entry, check_ranges, parse_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from oci_image.layers.limits import Limits
    from oci_image.layers.pax import Records
    from oci_image.layers.stream import PlainStream

REGULAR = b"0"
HARD_LINK = b"1"
SYMBOLIC_LINK = b"2"
CHARACTER_DEVICE = b"3"
BLOCK_DEVICE = b"4"
DIRECTORY = b"5"
FIFO = b"6"

_SEGMENT_BYTES = 128  # what a segment of a sparse file takes in memory
_ZERO_BLOCK = bytes(BLOCK)
_REGULAR_ALIASES = b"0\x007"  # '\0' is v7's regular file, '7' a contiguous one
_WITHOUT_DATA = b"123456"


class TarReader:
    """Iterates over the entries of `stream`; the data of an entry is read between two steps."""

    def __init__(self, stream: PlainStream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._unread = 0
        self._padding = 0
        self._metadata = 0  # bytes of extended headers and maps so far
        self.current_name = b""  # of the entry being read, for error messages

    def __iter__(self) -> Iterator[Entry]:
        count, most = 0, self._limits.entries
        while (entry := self._next()) is not None:
            count += 1
            if count > most:
                raise ImageError(f"layer has more than {most} entries")
            yield entry
        self._stream.drain()

    def data(self) -> Iterator[memoryview]:
        """The data of the current entry; for a sparse file the segments without the holes."""
        size, self._unread = self._unread, 0
        return self._stream.views(size)

    def _next(self) -> Entry | None:
        if self._unread or self._padding:
            self._finish_entry()
        records: Records | None = None
        long_name = long_link = None
        extended = 0
        while True:
            block = self._stream.take_up_to(BLOCK)
            if len(block) < BLOCK or block == _ZERO_BLOCK:
                self._check_end(block, records, long_name, long_link)
                return None
            entry, magic = parse_header(block)
            if entry.kind not in b"xgLK":
                break
            extended += entry.size
            data = self._extended_data(entry, extended)
            if entry.kind == b"x" and records is None:
                records = parse_records(data)
            elif entry.kind == b"L" and long_name is None:
                long_name = data.partition(b"\0")[0]
            elif entry.kind == b"K" and long_link is None:
                long_link = data.partition(b"\0")[0]
            elif entry.kind != b"g":  # global headers are ignored, as Docker does
                raise ImageError(f"two extended headers of type {entry.kind.decode()!r} for one entry")
        if long_name is not None:
            entry.name = long_name
        if long_link is not None:
            entry.link_name = long_link
        self.current_name = entry.name
        self._complete(entry, block, magic, records)
        return entry

    def _finish_entry(self) -> None:
        unread = self._unread
        # The padding after the last file may be missing: umoci 0.4.7 writes such archives.
        if self._stream.skip(unread + self._padding) < unread:
            raise ImageError("layer ends in the middle of a file")
        self._unread = self._padding = 0

    def _check_end(self, block: bytes, *extended: object) -> None:
        """The end is two zero blocks, or the end of the data at the start of a header."""
        if any(item is not None for item in extended):
            raise ImageError("layer ends after an extended header")
        if not block.strip(b"\0") and len(block) < BLOCK:
            return
        if len(block) < BLOCK:
            raise ImageError("layer ends in the middle of a header")
        second = self._stream.take_up_to(BLOCK)
        if second.strip(b"\0"):
            raise ImageError("only one zero block before the next header")

    def _extended_data(self, entry: Entry, extended: int) -> bytes:
        if extended > self._limits.header_bytes:
            raise ImageError(f"extended headers of an entry exceed {self._limits.header_bytes} bytes")
        self._account(entry.size)
        data = self._stream.take(entry.size)
        self._stream.take(-entry.size % BLOCK)
        return data

    def _account(self, size: int) -> None:
        """Entries are kept in memory until the tree is made, with names, targets, attributes and maps."""
        self._metadata += size
        if self._metadata > self._limits.metadata_bytes:
            raise ImageError(f"extended headers of all entries exceed {self._limits.metadata_bytes} bytes")

    def _complete(self, entry: Entry, block: bytes, magic: bytes, records: Records | None) -> None:
        """Merge the extended headers in, then settle the type, and how much data follows."""
        if records:
            apply_records(entry, records)
            self.current_name = entry.name
        check_ranges(entry)
        if entry.kind in _WITHOUT_DATA:
            # Some writers repeat the file's size on a hard link; a size by pax says that data follows,
            # and readers differ over whether it does.
            if entry.size and records and any(key == b"size" for key, _ in records):
                raise ImageError("entry of a type without data has a size")
            entry.size = entry.file_size = 0
            return
        size = entry.size
        if size:
            self._padding = -size % BLOCK
        if entry.kind in _REGULAR_ALIASES:
            entry.kind = REGULAR
            if records:
                apply_pax_sparse(entry, records, self._stream, self._limits)
        elif entry.kind == b"S" and magic == GNU_MAGIC:
            read_old_gnu_map(entry, block, self._stream, self._limits)
            entry.kind = REGULAR
        else:
            raise ImageError(f"unknown type of entry {entry.kind!r}")
        self._unread = entry.size
        if entry.segments:
            self._account(_SEGMENT_BYTES * len(entry.segments))
        if entry.file_size > self._limits.file_bytes:
            raise ImageError(f"file of {entry.file_size} bytes is larger than {self._limits.file_bytes}")
        if entry.name.endswith(b"/"):  # how v7 archives spell a directory
            if entry.size:
                raise ImageError("regular file has a name that ends in a slash")
            entry.kind = DIRECTORY
