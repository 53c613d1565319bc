"""The tar reader against every dialect, and against archives no program would write."""

from __future__ import annotations

import io
import tarfile

import pytest

from oci_image.errors import ImageError
from oci_image.layers.limits import Limits
from oci_image.layers.stream import PlainStream
from oci_image.layers.tar_header import Entry, parse_number
from oci_image.layers.tar_reader import TarReader
from tests import image_builder as build


class Pieces:
    """The data in pieces of one size."""

    def __init__(self, data: bytes, size: int = 100_000) -> None:
        self._pieces = [data[start : start + size] for start in range(0, len(data), size)]
        self.served = 0

    def read_piece(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        self.served += len(piece)
        return piece


def read_all(data: bytes, *, piece: int = 100_000, limits: Limits | None = None) -> list[tuple[Entry, bytes]]:
    reader = TarReader(PlainStream(Pieces(data, piece)), limits or Limits())
    return [(entry, b"".join(bytes(view) for view in reader.data())) for entry in reader]


def read_one(data: bytes) -> Entry:
    [(entry, _)] = read_all(data)
    return entry


def refused(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        read_all(data, limits=limits)
    return str(caught.value)


@pytest.mark.parametrize("piece", [1, 7, 511, 512, 513, 100_000])
def test_entries_are_the_same_whatever_the_pieces(piece: int) -> None:
    data = build.tar(build.directory(b"d"), build.file(b"d/f", b"x" * 1000), build.symlink(b"l", b"d/f"))
    found = read_all(data, piece=piece)
    assert [(entry.kind, entry.name) for entry, _ in found] == [(b"5", b"d"), (b"0", b"d/f"), (b"2", b"l")]
    assert found[1][1] == b"x" * 1000
    assert found[2][0].link_name == b"d/f"


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python_are_read_in_every_dialect(dialect: int) -> None:
    output = io.BytesIO()
    long_name = "directory/" * 12 + "name"
    with tarfile.open(fileobj=output, mode="w", format=dialect) as archive:
        info = tarfile.TarInfo(long_name)
        info.size, info.mode, info.uid, info.gid, info.mtime = 5, 0o4755, 1000, 2000, 1_600_000_000
        archive.addfile(info, io.BytesIO(b"hello"))
    [(entry, data)] = read_all(output.getvalue())
    assert (entry.name, data) == (long_name.encode(), b"hello")
    assert (entry.mode, entry.uid, entry.gid) == (0o4755, 1000, 2000)
    assert entry.modification_time == 1_600_000_000 * 10**9


def test_gnu_long_names_and_targets_replace_the_short_ones() -> None:
    name, target = b"n" * 300, b"t" * 400
    entry = read_one(
        build.tar(build.gnu_long(target, kind=b"K"), build.gnu_long(name), build.symlink(b"n", b"t"))
    )
    assert (entry.name, entry.link_name) == (name, target)


def test_ustar_prefix_counts_in_ustar_only() -> None:
    assert read_one(build.tar(build.header(b"b", prefix=b"a"))).name == b"a/b"
    assert read_one(build.tar(build.header(b"b", prefix=b"a", magic=b"ustar  \0"))).name == b"b"


def test_v7_entries_have_no_magic_and_a_zero_type() -> None:
    entry = read_one(build.tar(build.header(b"old", kind=b"\0", magic=bytes(8))))
    assert (entry.name, entry.kind) == (b"old", b"0")
    assert read_one(build.tar(build.header(b"old/", kind=b"\0", magic=bytes(8)))).kind == b"5"


def test_binary_numbers_hold_large_owners_and_negative_times() -> None:
    entry = read_one(build.tar(build.header(b"f", uid=2**32 - 2, gid=2**21, mtime=-5)))
    assert (entry.uid, entry.gid, entry.modification_time) == (2**32 - 2, 2**21, -5 * 10**9)


def test_pax_records_override_and_keep_fractions_of_seconds() -> None:
    records = {b"path": b"\xff\xfe", b"mtime": b"-1.5", b"atime": b"12.000000001", b"uid": b"4294967294"}
    entry = read_one(build.tar(build.pax(records), build.file(b"f")))
    assert entry.name == b"\xff\xfe"
    assert (entry.modification_time, entry.access_time) == (-1_500_000_000, 12_000_000_001)
    assert entry.uid == 2**32 - 2


def test_extended_attributes_keep_zeros_and_newlines() -> None:
    records = {b"SCHILY.xattr.user.a": b"x\0\n=y", b"LIBARCHIVE.xattr.user.%62": b"AQI"}
    assert read_one(build.tar(build.pax(records), build.file(b"f"))).xattrs == {
        b"user.a": b"x\0\n=y",
        b"user.b": b"\x01\x02",
    }


def test_global_headers_are_ignored() -> None:
    data = build.tar(build.pax({b"path": b"evil", b"size": b"7"}, kind=b"g"), build.file(b"f", b"abc"))
    assert [(entry.name, content) for entry, content in read_all(data)] == [(b"f", b"abc")]


def test_pax_size_decides_where_the_next_header_is() -> None:
    inner = build.file(b"smuggled", b"")
    entry = build.pax({b"size": str(len(inner)).encode()}) + build.header(b"f", size=0) + inner
    assert [e.name for e, _ in read_all(build.tar(entry, build.file(b"last")))] == [b"f", b"last"]


def test_hard_links_with_a_size_have_no_data() -> None:
    data = build.tar(build.hard_link(b"h", b"f", size=4096), build.file(b"last", b"x"))
    assert [(entry.name, entry.size) for entry, _ in read_all(data)] == [(b"h", 0), (b"last", 1)]


def test_a_hard_link_with_a_pax_size_is_refused() -> None:
    assert "has a size" in refused(build.tar(build.pax({b"size": b"512"}), build.hard_link(b"h", b"f")))


def test_sparse_files_of_pax_1_0_read_the_map_from_the_data() -> None:
    data = build.padded(b"2\n0\n3\n1000\n2\n") + b"abcde"
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": b"real",
        b"GNU.sparse.realsize": b"2000",
    }
    [(entry, content)] = read_all(build.tar(build.pax(records), build.file(b"GNUSparseFile.0/real", data)))
    assert (entry.name, entry.file_size, entry.segments) == (b"real", 2000, [(0, 3), (1000, 2)])
    assert content == b"abcde"


def test_sparse_files_of_pax_0_0_and_0_1_have_the_map_in_the_records() -> None:
    old = b"".join(
        build.pax_record(key, value)
        for key, value in [
            (b"GNU.sparse.size", b"50"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.offset", b"1"),
            (b"GNU.sparse.numbytes", b"2"),
            (b"GNU.sparse.offset", b"10"),
            (b"GNU.sparse.numbytes", b"3"),
        ]
    )
    new = {b"GNU.sparse.size": b"50", b"GNU.sparse.map": b"1,2,10,3"}
    for records in (old, new):
        [(entry, content)] = read_all(build.tar(build.pax(records), build.file(b"f", b"abcde")))
        assert (entry.file_size, entry.segments, content) == (50, [(1, 2), (10, 3)], b"abcde")


def test_old_gnu_sparse_files_go_on_in_extension_blocks() -> None:
    pairs = [(number * 1000, 1) for number in range(6)]
    area = b"".join(build.octal(offset, 12) + build.octal(length, 12) for offset, length in pairs[:4])
    extension = b"".join(build.octal(offset, 12) + build.octal(length, 12) for offset, length in pairs[4:])
    fields = {(386, 482): area, (482, 483): b"\x01", (483, 495): build.octal(9000, 12)}
    entry_bytes = build.header(b"f", kind=b"S", size=6, magic=b"ustar  \0", fields=fields)
    [(entry, content)] = read_all(build.tar(entry_bytes, build.padded(extension), build.padded(b"abcdef")))
    assert (entry.kind, entry.file_size, entry.segments, content) == (b"0", 9000, pairs, b"abcdef")


@pytest.mark.parametrize(
    "pairs",
    [b"0,3,2,2", b"5,5", b"0,4", b"9999999999999999999,5", b"0,5,1"],
    ids=["overlap", "beyond", "too-little", "overflow", "odd"],
)
def test_sparse_maps_that_lie_are_refused(pairs: bytes) -> None:
    records = {b"GNU.sparse.size": b"9", b"GNU.sparse.map": pairs}
    assert "sparse" in refused(build.tar(build.pax(records), build.file(b"f", b"abcde")))


def test_sparse_maps_are_bounded() -> None:
    many = b",".join(b"%d,0" % number for number in range(100))
    records = {b"GNU.sparse.size": b"200", b"GNU.sparse.map": many}
    text = refused(build.tar(build.pax(records), build.file(b"f")), Limits(sparse_segments=10))
    assert "more than 10 segments" in text


def test_the_end_may_be_missing_as_may_the_last_padding() -> None:
    data = build.header(b"f", size=5) + b"hello"
    assert [(entry.name, content) for entry, content in read_all(data)] == [(b"f", b"hello")]
    assert read_all(b"") == []


def test_what_follows_the_end_is_read() -> None:
    data = build.tar(build.file(b"f")) + b"junk" * 1000
    pieces = Pieces(data)
    assert [entry.name for entry in TarReader(PlainStream(pieces), Limits())] == [b"f"]
    assert pieces.served == len(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (build.file(b"f", b"x" * 600)[:700], "middle of a file"),
        (build.file(b"f")[:100], "middle of a header"),
        (b"garbage!" * 64, "checksum"),
        (bytes(512) + build.file(b"f"), "zero block"),
        (build.tar(build.header(b"f", kind=b"Z")), "unknown type"),
        (build.tar(build.pax({b"path": b"x"})), "after an extended header"),
        (build.tar(build.pax({b"path": b"a"}), build.pax({b"path": b"b"}), build.file(b"f")), "two extended"),
        (build.tar(build.pax({b"path": b"a\0b"}), build.file(b"f")), "zero byte"),
        (build.tar(build.pax(b"999 path=x\n"), build.file(b"f")), "wrong length"),
        (build.tar(build.pax(b"x path=x\n"), build.file(b"f")), "no length"),
        (build.tar(build.pax(b"0 path=x\n"), build.file(b"f")), "wrong length"),
        (build.tar(build.pax(b"9 path x\n"), build.file(b"f")), "wrong length|no key"),
        (build.tar(build.pax({b"size": b"-1"}), build.file(b"f")), "size"),
        (build.tar(build.pax({b"size": b"9" * 19}), build.file(b"f")), "size"),
        (build.tar(build.pax({b"uid": b"4294967295"}), build.file(b"f")), "out of range"),
        (build.tar(build.pax({b"mtime": b"1e9"}), build.file(b"f")), "time"),
        (build.tar(build.header(b"f", fields={(124, 136): build.base256(-1, 12)})), "size"),
        (build.tar(build.header(b"f", fields={(124, 136): b"+0000000001\0"})), "not a number"),
        (build.tar(build.header(b"f", fields={(108, 116): b"0000009\0"})), "octal"),
        (build.tar(build.header(b"f", size=2**62)), "larger|ends"),
        (build.tar(build.file(b"f/", b"x")), "slash"),
    ],
)  # fmt: skip
def test_malformed_archives_are_refused(data: bytes, words: str) -> None:
    import re

    assert re.search(words, refused(data))


def test_extended_headers_and_entries_are_bounded() -> None:
    limits = Limits(header_bytes=1000, entries=2)
    assert "exceed 1000" in refused(build.tar(build.pax({b"comment": b"x" * 2000}), build.file(b"f")), limits)
    assert "more than 2 entries" in refused(build.tar(*[build.file(b"f")] * 3), limits)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"\0" * 8, 0),
        (b" " * 8, 0),
        (b"7777777\0junk"[:8], 0o7777777),
    ],
)
def test_numbers_may_be_padded_with_spaces_and_zeros(field: bytes, value: int) -> None:
    assert parse_number(field, "mode") == value
