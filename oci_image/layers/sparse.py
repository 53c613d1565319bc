"""Maps of sparse files: old GNU, and pax versions 0.0, 0.1 and 1.0.

A map is a list of (offset, length) of the data that is there; everything else is holes.

Source: GNU tar manual, "Storing Sparse Files"; the limit on segments exists because of CVE-2025-58183.
"""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.layers.pax import pax_number
from oci_image.layers.tar_header import BLOCK, parse_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.layers.limits import Limits
    from oci_image.layers.pax import Records
    from oci_image.layers.stream import PlainStream
    from oci_image.layers.tar_header import Entry


def read_old_gnu_map(entry: Entry, block: bytes, stream: PlainStream, limits: Limits) -> None:
    """The map in a header of type S and in the extension blocks that follow it."""
    segments: list[tuple[int, int]] = []
    _old_gnu_pairs(block[386:482], segments)
    entry.file_size = parse_number(block[483:495], "sparse size")
    more = block[482]
    while more:
        if len(segments) > limits.sparse_segments:
            raise ImageError(f"sparse file has more than {limits.sparse_segments} segments")
        extension = stream.take(BLOCK)
        _old_gnu_pairs(extension[:504], segments)
        more = extension[504]
    entry.segments = segments
    check_map(entry, limits)


def _old_gnu_pairs(area: bytes, segments: list[tuple[int, int]]) -> None:
    for start in range(0, len(area), 24):
        offset, length = area[start : start + 12], area[start + 12 : start + 24]
        if offset[0] == 0 and length[0] == 0:
            return
        segments.append((parse_number(offset, "sparse offset"), parse_number(length, "sparse length")))


def apply_pax_sparse(entry: Entry, records: Records, stream: PlainStream, limits: Limits) -> None:
    """Give the entry its map if the records describe a sparse file; version 1.0 reads it from the data."""
    values = {key: value for key, value in records if key.startswith(b"GNU.sparse.")}
    if not values:
        return
    if b"GNU.sparse.name" in values:
        entry.name = values[b"GNU.sparse.name"]
        if b"\0" in entry.name:
            raise ImageError("sparse file has a name with a zero byte")
    size = values.get(b"GNU.sparse.realsize", values.get(b"GNU.sparse.size"))
    if size is not None:
        entry.file_size = pax_number(size, "sparse size")
    if values.get(b"GNU.sparse.major") == b"1":
        if values.get(b"GNU.sparse.minor") != b"0":
            raise ImageError("unknown version of sparse file")
        numbers = _read_leading_map(entry, stream, limits)
    elif b"GNU.sparse.map" in values:
        _check_count(values[b"GNU.sparse.map"].count(b",") // 2, limits)
        numbers = [pax_number(value, "sparse map") for value in values[b"GNU.sparse.map"].split(b",")]
    else:
        wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        pairs = [(key, value) for key, value in records if key in wanted]
        if any(key != wanted[position % 2] for position, (key, _) in enumerate(pairs)):
            raise ImageError("sparse map has no pairs")
        numbers = [pax_number(value, "sparse map") for _, value in pairs]
    if len(numbers) % 2:
        raise ImageError("sparse map has no pairs")
    entry.segments = list(zip(numbers[::2], numbers[1::2], strict=True))
    check_map(entry, limits)


def _read_leading_map(entry: Entry, stream: PlainStream, limits: Limits) -> list[int]:
    """Version 1.0: count, then numbers, one a line, at the start of the data, padded to whole blocks."""
    text = b""
    wanted = 1
    while True:
        if entry.size < BLOCK:
            raise ImageError("sparse map is longer than the entry")
        text += stream.take(BLOCK)
        entry.size -= BLOCK
        lines = text.split(b"\n")
        if wanted == 1 and len(lines) > 1:
            count = pax_number(lines[0], "sparse map")
            _check_count(count, limits)
            wanted = 1 + 2 * count
        if len(lines) > wanted:
            return [pax_number(line, "sparse map") for line in lines[1:wanted]]
        # A line has at most 20 digits: a map that has not begun by now never will.
        if len(text) > 24 * (wanted + 1) + BLOCK:
            raise ImageError("malformed sparse map")


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.sparse_segments:
        raise ImageError(f"sparse file has more than {limits.sparse_segments} segments")


def check_map(entry: Entry, limits: Limits) -> None:
    """Segments must be in order, lie inside the file, and have just the data that the entry carries."""
    segments = entry.segments or []
    _check_count(len(segments), limits)
    end = total = 0
    for offset, length in segments:
        if offset < end or offset + length > entry.file_size:
            raise ImageError("sparse map overlaps itself or the end of the file")
        end = offset + length
        total += length
    if total != entry.size:
        raise ImageError(f"sparse map places {total} bytes, the entry has {entry.size}")
