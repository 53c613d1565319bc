"""Whatever entry is written, reading the archive gives it back, to us and to Python's own reader."""

from __future__ import annotations

import io
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.layers import tar_reader
from oci_image.layers.limits import Limits
from oci_image.layers.stream import PlainStream
from oci_image.layers.tar_header import Entry
from oci_image.layers.tar_reader import TarReader
from oci_image.pack.compressing import open_compressor
from oci_image.pack.tar_writer import TarWriter

COMPONENTS = st.binary(min_size=1, max_size=120).filter(
    lambda part: not {0, 47} & set(part) and part not in (b".", b"..")
)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=5).map(b"/".join)
IDS = st.integers(0, 2**32 - 2)
TIMES = st.integers(-(10**18), 10**19)
XATTR_NAMES = st.from_regex(rb"user\.[a-z.]{1,20}", fullmatch=True)
XATTRS = st.dictionaries(XATTR_NAMES, st.binary(max_size=50), max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    entry, data = Entry(), b""
    entry.name = draw(NAMES)
    entry.kind = draw(st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6"]))
    entry.mode = draw(st.integers(0, 0o7777))
    entry.uid, entry.gid = draw(IDS), draw(IDS)
    entry.modification_time = draw(TIMES)
    entry.xattrs = draw(XATTRS)
    if entry.kind in b"12":
        entry.link_name = draw(NAMES)
    if entry.kind in b"34":
        entry.device_major, entry.device_minor = (
            draw(st.integers(0, 4095)),
            draw(st.integers(0, (1 << 20) - 1)),
        )
    if entry.kind == tar_reader.REGULAR:
        data = draw(st.binary(max_size=2000))
        entry.size = entry.file_size = len(data)
        if draw(st.booleans()):
            hole = draw(st.integers(1, 1 << 40))
            entry.segments = [(hole, len(data))] if data else []
            entry.file_size = hole + len(data)
    return entry, data


class OnePiece:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_piece(self) -> bytes:
        data, self.data = self.data, b""
        return data


def archive_of(written: list[tuple[Entry, bytes]]) -> bytes:
    out = bytearray()
    writer = TarWriter(out.extend)
    for entry, data in written:
        writer.add(entry, [data])
    writer.finish()
    return bytes(out)


def attributes(entry: Entry) -> dict[str, object]:
    found = {name: getattr(entry, name) for name in Entry.__slots__}
    found["name"] = found["name"].rstrip(b"/")
    return found


@given(st.lists(entries(), max_size=5))
def test_what_is_written_is_read(written: list[tuple[Entry, bytes]]) -> None:
    archive = archive_of(written)
    stream = PlainStream(OnePiece(archive))
    found = [
        (attributes(entry), archive[stream.offset : stream.offset + entry.size])
        for entry in TarReader(stream, Limits())
    ]
    assert found == [(attributes(entry), data) for entry, data in written]


@given(st.lists(entries(), max_size=5))
def test_python_reads_the_same_names_and_sizes(written: list[tuple[Entry, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive_of(written)), errors="surrogateescape") as archive:
        found = [(member.name.encode("utf-8", "surrogateescape"), member.size) for member in archive]
    assert found == [(entry.name, entry.file_size) for entry, _ in written]


@pytest.mark.parametrize("size", [0, 1, 512 << 10, (512 << 10) + 1, 3 << 20])
def test_gzip_blocks_make_one_member(size: int) -> None:
    plain = (b"0123456789abcdef" * 97)[:1551] * (size // 1551 + 1)
    plain = plain[:size]
    out = bytearray()
    compressor = open_compressor("gzip", 0, out.extend)
    for begin in range(0, size, 100_000):
        compressor.write(plain[begin : begin + 100_000])
    compressor.finish()
    member = zlib.decompressobj(31)
    assert member.decompress(bytes(out)) == plain
    assert member.eof
    assert not member.unused_data
