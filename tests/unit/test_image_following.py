"""Layers are read while they are written: the same comes out, and nothing is believed that was not verified."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers import indexing
from oci_image.layers.following import Follower
from oci_image.layers.indexing import index_layer, index_plain, unpack_items
from oci_image.layers.limits import Limits
from oci_image.layers.stream import FileStream
from oci_image.model.descriptor import Descriptor
from oci_image.model.digest import Digest, parse_digest
from oci_image.store.verified import VerifiedReader
from tests.image_builder import compress, directory, file, gnu_long, hard_link, header, symlink, tar

BIG = tar(
    directory(b"d"), *[file(b"d/f%d" % number, os.urandom(3 * number)) for number in range(400)],
    file(b"d/" + b"n" * 150, b"long name"), symlink(b"l", b"d"), hard_link(b"h", b"d/f7"), gnu_long(b"g" * 120),
    file(b"g"), file(b"big", os.urandom(3 << 20)), file(b"last", b"last"),
)  # fmt: skip
BAD = header(b"bad", kind=b"0", fields={(124, 136): b"not a number"})


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "spool", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Also where there is one processor, or a thread of the tests' own: it does not touch what is forked here.
    monkeypatch.setattr(indexing, "can_start", lambda: True)
    gc.collect()  # what tests before this one have left is closed now, and not while this one is counted
    before = len(os.listdir("/proc/self/fd"))
    others = children()  # such as the registry that tests of other files share
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert children() <= others


def children() -> set[str]:
    """The processes below this one that it has not waited for."""
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for each in lists for pid in each.read_text().split()}


def digest_of(data: bytes) -> Digest:
    return parse_digest("sha256:" + hashlib.sha256(data).hexdigest())


def index(tmp_path: Path, spool: int, blob: bytes, *, promised: bytes, plain: bytes, limits: Limits) -> bytes:
    """Index a blob of which the digests of two other ones were promised."""
    (tmp_path / "blob").write_bytes(blob)
    reader = VerifiedReader(
        os.open(tmp_path / "blob", os.O_RDONLY), Descriptor("", digest_of(promised), len(promised))
    )
    return index_layer(reader, len(blob), digest_of(plain), spool, limits)


@pytest.mark.parametrize("piece", [1, 511, 512, 70_001, 10 << 20])
def test_a_growing_file_is_read_as_a_whole_one(spool: int, piece: int) -> None:
    archive = BIG[: 200 << 10] if piece == 1 else BIG
    os.write(spool, archive)
    whole = archive if piece > 1 else archive + bytes(10 << 10)
    os.write(spool, whole[len(archive) :])

    def sizes(stream: FileStream) -> tuple[int, list[bytes]]:
        found = []
        while block := stream.take_up_to(1000):
            found.append(hashlib.sha256(block).digest())
            stream.skip(3000)
        return os.getpid(), found

    with Follower(spool, sizes) as follower:
        for end in range(piece, len(whole), piece):
            follower.grown(end)
        follower.grown(len(whole))
        pid, found = follower.result()
    assert pid != os.getpid()
    assert found == sizes(FileStream(spool, len(whole)))[1]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_items_are_those_of_the_whole_layer(tmp_path: Path, spool: int, compression: str) -> None:
    blob = compress(BIG, compression)
    found = unpack_items(index(tmp_path, spool, blob, promised=blob, plain=BIG, limits=Limits()))
    assert [item[1] for item in found][-6:] == [b"n" * 150, b"l", b"h", b"g" * 120, b"big", b"last"]
    assert found == index_plain(spool, len(BIG), Limits())


def test_what_follows_the_end_of_the_archive_is_stored_and_not_read(tmp_path: Path, spool: int) -> None:
    plain = BIG + os.urandom(5 << 20)
    blob = compress(plain, "gzip")
    found = index(tmp_path, spool, blob, promised=blob, plain=plain, limits=Limits())
    assert unpack_items(found)[-1][1] == b"last"
    assert os.fstat(spool).st_size == len(plain)


def test_a_wrong_digest_is_the_fault_even_if_an_entry_is_bad_too(tmp_path: Path, spool: int) -> None:
    for bad in (BIG, BAD + BIG, BIG[:-1024] + BAD, BIG[: 1 << 20]):
        blob = compress(bad, "gzip")
        other = bytes(len(blob))
        with pytest.raises(IntegrityError, match="does not match its digest"):
            index(tmp_path, spool, blob, promised=other, plain=bad, limits=Limits())
        with pytest.raises(IntegrityError, match="diff ID"):
            index(tmp_path, spool, blob, promised=blob, plain=other, limits=Limits())
        with pytest.raises(IntegrityError, match=r"before its size|longer than its size"):
            index(tmp_path, spool, blob, promised=blob + b"more", plain=bad, limits=Limits())


@pytest.mark.parametrize(
    ("plain", "message", "where"),
    [
        (BAD + BIG, "size is not a number", ""),
        (BIG[:-1024] + BAD, "size is not a number", "last"),
        (BIG[: 1 << 20], "ends in the middle of a file", "big"),
        (BIG[:-1024] + file(b"../up"), "has a '..'", "../up"),
    ],
    ids=["first", "last", "cut", "name"],
)
def test_a_bad_entry_is_named(tmp_path: Path, spool: int, plain: bytes, message: str, where: str) -> None:
    blob = compress(plain, "gzip")
    with pytest.raises(ImageError, match=message) as caught:
        index(tmp_path, spool, blob, promised=blob, plain=plain, limits=Limits())
    assert where in (caught.value.where or "")


def test_limits_hold(tmp_path: Path, spool: int) -> None:
    blob = compress(BIG, "gzip")
    for limits, message in [
        (Limits(entries=100), "more than 100 entries"),
        (Limits(layer_bytes=1 << 20), "larger than 1048576 bytes"),
    ]:
        with pytest.raises(ImageError, match=message):
            index(tmp_path, spool, blob, promised=blob, plain=BIG, limits=limits)
    assert os.fstat(spool).st_size <= len(BIG) + (1 << 20)


def test_a_spool_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    blob = compress(BIG, "gzip")
    fd = os.open(tmp_path / "unreadable", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(ImageError, match="cannot read the plain layer"):
            index(tmp_path, fd, blob, promised=blob, plain=BIG, limits=Limits())
    finally:
        os.close(fd)
