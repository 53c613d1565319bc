"""The content store: what is written, by how many at once, and what a kill or a lie leaves behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from oci_image.errors import ImageError, IntegrityError
from oci_image.model.digest import Digest
from oci_image.store.blob_writer import BlobWriter
from oci_image.store.check import check_store
from oci_image.store.content import Store, create_layout, name_of
from tests.image_builder import MANIFEST, Image, Layer, LayoutBuilder, make_layout, tar

TREE = Path(__file__).resolve().parents[2]


def sha256(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def snapshot(path: str) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in Path(path).rglob("*") if file.is_file()
    }


def send(writer: BlobWriter, data: bytes) -> None:
    writer.write(data)
    writer.commit()


def test_a_new_store_is_a_layout_and_is_made_once(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "store")
    with Store.open(path, create=True) as store:
        assert store.entries() == []
        assert check_store(store).faults == ()
    create_layout(path)
    with pytest.raises(ImageError, match="already exists"):
        create_layout(path, exist_ok=False)


def test_a_directory_with_other_things_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ImageError, match="not empty"):
        create_layout(str(tmp_path))


def test_a_blob_appears_when_it_is_right_and_not_before(tmp_path: Path) -> None:
    data = b"content" * 1000
    with Store.open(str(tmp_path), create=True) as store, store.adding():
        with store.write_blob(sha256(data), len(data)) as writer:
            writer.write(data[:100])
            assert not store.has_blob(sha256(data))
            writer.write(data[100:])
            writer.commit()
        assert store.has_blob(sha256(data), len(data))


@pytest.mark.parametrize(
    ("data", "words"), [(b"lie", "digest"), (b"long", "longer"), (b"s", "descriptor says")]
)
def test_a_wrong_blob_leaves_the_store_as_it_was(tmp_path: Path, data: bytes, words: str) -> None:
    with Store.open(str(tmp_path), create=True) as store:
        before = snapshot(str(tmp_path / "blobs"))
        with (
            store.adding(),
            store.write_blob(sha256(b"yes"), 3) as writer,
            pytest.raises(IntegrityError, match=words),
        ):
            send(writer, data)
        assert snapshot(str(tmp_path / "blobs")) == before
        with store.adding(), store.write_blob(sha256(b"yes"), 3) as writer:
            writer.restart()
            writer.write(b"yes")
            writer.commit()
        assert store.has_blob(sha256(b"yes"), 3)


def test_a_broken_transfer_goes_on_where_it_was(tmp_path: Path) -> None:
    data = os.urandom(5000)
    with Store.open(str(tmp_path), create=True) as store, store.adding():
        with store.write_blob(sha256(data), len(data)) as writer:
            writer.write(data[:3000])
        with store.write_blob(sha256(data), len(data)) as writer:
            assert writer.offset == 3000
            writer.write(data[3000:])
            writer.commit()
        assert os.listdir(tmp_path / ".partial") == []


def test_a_name_moves_and_what_it_leaves_stays_without_one(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    first, second = builder.manifest(Image([])), builder.manifest(Image([], {"User": "1"}))
    builder.add(first, "one")
    with Store.open(builder.path) as store:
        store.tag(first, "also")
        store.tag(second, "one")
        assert [(name_of(entry), entry["digest"]) for entry in store.entries()] == [
            ("also", first["digest"]),
            ("one", second["digest"]),
        ]
        store.tag(second, "also")
        assert ("", first["digest"]) in [(name_of(entry), entry["digest"]) for entry in store.entries()]
        store.remove(first["digest"])
        with pytest.raises(ImageError, match="no image 'absent'"):
            store.remove("absent")


def test_garbage_goes_and_everything_that_has_a_name_stays(tmp_path: Path) -> None:
    path = make_layout(str(tmp_path / "layout"), tar())
    with Store.open(path) as store:
        before = check_store(store)
        with store.adding():
            lost = store.put_blob(b"nobody wants this", "application/x-unknown")
        assert store.collect(dry_run=True) == ([str(lost.digest)], lost.size)
        assert store.collect() == ([str(lost.digest)], lost.size)
        assert check_store(store) == before
        store.remove("latest")
        assert len(store.collect()[0]) == 3
        assert list(store.blobs()) == []


def test_collecting_waits_for_those_who_add(tmp_path: Path) -> None:
    with Store.open(str(tmp_path), create=True) as store:
        with store.adding():
            kept = store.put_blob(b"{}", MANIFEST)
            collector = threading.Thread(target=store.collect)
            collector.start()
            time.sleep(0.1)
            assert collector.is_alive()
            assert store.has_blob(kept.digest)
        collector.join(10)
        assert not store.has_blob(kept.digest)


def test_garbage_is_not_judged_by_a_document_that_cannot_be_understood(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    builder.add(builder.json({"schemaVersion": 2, "manifests": [], "layers": []}, MANIFEST))
    builder.blob(b"something", "application/x-unknown")
    with Store.open(builder.path) as store:
        before = snapshot(builder.path)
        with pytest.raises(ImageError):
            store.collect()
        assert snapshot(builder.path) == before


def test_every_kind_of_damage_is_found(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    builder.add(builder.manifest(Image([Layer(tar()), Layer(tar(b"\0" * 512))])))
    with Store.open(builder.path) as store:
        blobs = {digest: Path(builder.path, name) for digest, name, _ in store.blobs()}
        for digest, file in blobs.items():
            good = file.read_bytes()
            file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
            assert digest in [fault.digest for fault in check_store(store).faults]
            file.unlink()
            assert digest in [fault.digest for fault in check_store(store).faults]
            file.write_bytes(good)
        assert check_store(store).faults == ()


WRITE = """
import sys
from oci_image.store.content import Store
with Store.open(sys.argv[1], create=True) as store:
    for number in range(int(sys.argv[3])):
        with store.adding():
            config = store.put_document({"rootfs": {"type": "layers", "diff_ids": []}, "n": number,
                "who": sys.argv[2]}, "application/vnd.oci.image.config.v1+json")
            manifest = store.put_document({"schemaVersion": 2, "config": config.to_json(), "layers": []},
                "application/vnd.oci.image.manifest.v1+json")
            store.tag(manifest, f"{sys.argv[2]}-{number}")
"""


def writers(path: Path, names: str, count: int) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), name, str(count)], cwd=TREE)
        for name in names
    ]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    for process in writers(tmp_path, "abc", 10):
        assert process.wait(60) == 0
    with Store.open(str(tmp_path)) as store:
        assert {name_of(entry) for entry in store.entries()} == {f"{w}-{n}" for w in "abc" for n in range(10)}
        assert check_store(store).faults == ()
        assert store.collect()[0] == []


def test_killed_writers_leave_a_store_without_faults(tmp_path: Path) -> None:
    for delay in (0.2, 0.3):
        running = writers(tmp_path, "ab", 100_000)
        time.sleep(delay)
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with Store.open(str(tmp_path), create=True) as store:
        assert check_store(store).faults == ()
        store.collect()
        assert check_store(store).faults == ()
        assert not list((tmp_path / ".partial").glob("*"))
