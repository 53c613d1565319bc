"""Random and mutated archives: the reader either reads them or refuses them, and always ends."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from oci_image.errors import ImageError
from oci_image.layers.limits import Limits
from oci_image.layers.pax import apply_records, parse_records, parse_time
from oci_image.layers.rootdir import show, split_name
from oci_image.layers.stream import PlainStream
from oci_image.layers.tar_header import Entry, parse_number
from oci_image.layers.tar_reader import TarReader
from tests import image_builder as build

LIMITS = Limits(entries=100, header_bytes=1 << 16, sparse_segments=100)
NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name and not name.endswith(b"/"))

SAMPLE = build.tar(
    build.pax({b"path": b"long" * 50, b"SCHILY.xattr.user.x": b"\0\n"}),
    build.file(b"f", b"x" * 700),
    build.gnu_long(b"g" * 200),
    build.symlink(b"s", b"f"),
    build.pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"5000"}),
    build.file(b"sparse", build.padded(b"1\n4000\n5\n") + b"abcde"),
    build.directory(b"d"),
    build.hard_link(b"h", b"f"),
)


class Pieces:
    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    def read_piece(self) -> bytes:
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece


def read(data: bytes, piece: int = 4096) -> list[tuple[bytes, bytes, int]]:
    found = []
    reader = TarReader(PlainStream(Pieces(data, piece)), LIMITS)
    for entry in reader:
        total = sum(len(view) for view in reader.data())
        assert total == entry.size
        assert 0 <= entry.file_size <= LIMITS.file_bytes
        if entry.segments is not None:
            assert sum(length for _, length in entry.segments) == entry.size
        found.append((entry.name, entry.kind, total))
    return found


def read_or_refuse(data: bytes, piece: int = 4096) -> object:
    try:
        return read(data, piece)
    except ImageError as error:
        return error.what


@given(st.binary(max_size=5000))
def test_random_bytes_never_escape_as_another_error(data: bytes) -> None:
    read_or_refuse(data)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=8),
    st.integers(1, 2000),
)
def test_mutated_archives_read_the_same_in_any_pieces(changes: list[tuple[int, int]], piece: int) -> None:
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    assert read_or_refuse(bytes(data), piece) == read_or_refuse(bytes(data), 1 << 20)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=512, max_size=512), st.binary(max_size=2000))
def test_random_headers_with_a_right_checksum_are_read_or_refused(block: bytes, rest: bytes) -> None:
    changed = bytearray(block)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    read_or_refuse(bytes(changed) + rest)


@given(
    NAMES,
    st.binary(max_size=2000),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**33), 2**33),
)
def test_what_is_written_is_read_back(name: bytes, data: bytes, mode: int, uid: int, mtime: int) -> None:
    archive = build.tar(build.file(name, data, mode=mode, uid=uid, mtime=mtime))
    reader = TarReader(PlainStream(Pieces(archive, 1000)), LIMITS)
    [(entry, content)] = [(entry, b"".join(map(bytes, reader.data()))) for entry in reader]
    assert (entry.name, content, entry.mode, entry.uid) == (name, data, mode, uid)
    assert entry.modification_time == mtime * 10**9


@given(st.binary(max_size=300))
def test_pax_records_are_parsed_or_refused(data: bytes) -> None:
    try:
        records = parse_records(data)
        assert b"".join(build.pax_record(key, value) for key, value in records) == data or b"0" in data
        apply_records(Entry(), records)
    except ImageError:
        pass


@given(st.binary(min_size=8, max_size=12), st.booleans())
def test_numbers_are_in_range_or_refused(field: bytes, negative: bool) -> None:
    try:
        value = parse_number(field, "number", negative=negative)
    except ImageError:
        return
    assert -(2**63) < value < 2**63
    assert negative or value >= 0


@given(st.integers(-(10**12), 10**12), st.integers(0, 999_999_999))
def test_times_keep_their_nanoseconds(seconds: int, nanoseconds: int) -> None:
    assert (
        parse_time(b"%d.%09d" % (seconds, nanoseconds))
        == (seconds * 10**9 + (nanoseconds if seconds >= 0 else -nanoseconds))
        or abs(seconds) >= 1 << 40
    )


@given(st.binary(max_size=400))
def test_split_names_are_safe_or_refused(name: bytes) -> None:
    assert show(name).isprintable()
    try:
        parts = split_name(name)
    except ImageError:
        return
    for part in parts:
        assert part not in (b"", b".", b"..")
        assert b"/" not in part
        assert b"\0" not in part
        assert len(part) <= 255
