"""Image layouts, archives and directories that attack whoever reads them or looks after them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.layers.limits import Limits
from oci_image.store.content import Store
from oci_image.transports.archive_members import ArchiveMembers
from tests.image_builder import CONFIG, INDEX, MANIFEST, LayoutBuilder, file, header, make_layout, tar


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory beside the layout, with files that look like what a store throws away."""
    path = tmp_path / "victim"
    path.mkdir()
    (path / "precious").write_text("precious")
    (path / ("0" * 64)).write_text("precious")
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 1) -> str:
    """The command fails with this code; its message."""
    rootless = ["--rootless"] if words[0] == "unpack" and os.geteuid() != 0 else []
    assert main([str(words[0]), *rootless, *map(str, words[1:])]) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("name", [".partial", "blobs/sha256", "blobs"])
def test_collecting_garbage_does_not_follow_links_of_the_layout(
    tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    layout = Path(make_layout(str(tmp_path / "layout"), tar(file(b"f"))))
    link = layout / name
    if link.exists():
        link.rename(tmp_path / "aside")
    link.symlink_to(victim)
    with Store.open(str(layout)) as store:
        store.change_index(lambda _: [])
        with pytest.raises(ImageError):
            store.collect()
    assert sorted(os.listdir(victim)) == ["0" * 64, "precious"]
    assert refused(capsys, "gc", "--store", layout)
    assert sorted(os.listdir(victim)) == ["0" * 64, "precious"]


@pytest.mark.parametrize("name", [".partial", "blobs/sha256"])
def test_nothing_is_written_through_links_of_the_layout(
    tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = make_layout(str(tmp_path / "source"), tar(file(b"f")))
    target = Path(LayoutBuilder(str(tmp_path / "target")).path)
    (target / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    if (target / name).exists():
        (target / name).rmdir()
    (target / name).symlink_to(victim)
    assert "it is a link" in refused(capsys, "copy", f"oci:{source}:latest", f"oci:{target}:x")
    assert sorted(os.listdir(victim)) == ["0" * 64, "precious"]
    assert json.loads((target / "index.json").read_text())["manifests"] == []


def test_a_directory_among_the_blobs_is_no_blob(tmp_path: Path) -> None:
    layout = Path(make_layout(str(tmp_path / "layout"), tar(file(b"f"))))
    (layout / "blobs/sha256/directory").mkdir()
    with Store.open(str(layout)) as store:
        assert store.collect() == ([], 0)


def test_an_index_that_names_itself_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No document can hold its own digest, so the circle ends where the bytes are not what was promised."""
    builder = LayoutBuilder(str(tmp_path / "layout"))
    digest = "sha256:" + "1" * 64
    entry = {"mediaType": INDEX, "digest": digest, "size": 0}
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    entry["size"] = len(data)
    builder.write(f"blobs/sha256/{'1' * 64}", data)
    builder.add(entry)
    words = ("unpack", "--image", builder.path, tmp_path / "bundle")
    assert "does not match" in refused(capsys, *words, code=3)
    assert "blob" in refused(capsys, "copy", f"oci:{builder.path}:latest", f"oci:{tmp_path}/new:x", code=3)
    assert main(["verify", "--store", builder.path]) == 1
    assert not (tmp_path / "bundle").exists()


def test_indexes_within_indexes_end_somewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    inner = builder.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, INDEX)
    for _ in range(20):
        inner = builder.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}, INDEX)
    builder.add(inner)
    assert "deeper" in refused(capsys, "unpack", "--image", builder.path, tmp_path / "bundle")


@pytest.mark.parametrize("kind", [INDEX, MANIFEST])
def test_a_document_of_absurd_size_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    path = Path(builder.path, "blobs/sha256", "2" * 64)
    with path.open("wb") as output:
        output.truncate(1 << 40)
    builder.add({"mediaType": kind, "digest": "sha256:" + "2" * 64, "size": 1 << 40})
    for words in (
        ["unpack", "--image", builder.path, str(tmp_path / "bundle")],
        ["copy", f"oci:{builder.path}:latest", f"oci:{tmp_path}/new:x"],
    ):
        assert "larger than" in refused(capsys, *words)
    with open(f"{builder.path}/index.json", "wb") as output:
        output.truncate(1 << 40)
    assert "larger than" in refused(capsys, "unpack", "--image", builder.path, tmp_path / "bundle")


def archive(path: Path, members: dict[str, bytes], *, front: bytes = b"") -> str:
    """A docker-archive of these members."""
    data = front + tar(*[file(name.encode(), content) for name, content in members.items()])
    path.write_bytes(data)
    return f"docker-archive:{path}"


def classic(layers: object, tags: object, count: int = 1) -> dict[str, bytes]:
    """An old docker-archive with one layer, which the config names `count` times."""
    layer = tar(file(b"f"))
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}"] * count
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": layers}]
    return {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }


@pytest.mark.parametrize(
    ("layers", "tags", "words"),
    [
        (5, None, "Layers is not a list"),
        ("layer.tar", None, "Layers is not a list"),
        (["layer.tar"], 5, "RepoTags is not a list"),
        (["layer.tar"], [5], "RepoTags is not a list"),
        (["../../../../etc/hostname"], None, "no ../../../../etc/hostname"),
    ],
)
def test_malformed_lists_of_archives_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layers: object, tags: object, words: str
) -> None:
    source = archive(tmp_path / "a.tar", classic(layers, tags))
    assert words in refused(capsys, "copy", source, f"oci:{tmp_path}/new:x")
    assert not (tmp_path / "new/index.json").exists() or not json.loads(
        (tmp_path / "new/index.json").read_text()
    ).get("manifests")


def test_a_layer_that_is_named_a_thousand_times_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = archive(tmp_path / "a.tar", classic(["layer.tar"] * 1000, None, 1000))
    reads: list[int] = []
    right = ArchiveMembers.pieces

    def counting(members: ArchiveMembers, offset: int, size: int) -> Iterator[bytes]:
        reads.append(size)
        return right(members, offset, size)

    monkeypatch.setattr(ArchiveMembers, "pieces", counting)
    assert main(["copy", "-q", source, f"oci:{tmp_path}/new:x"]) == 0
    assert len(reads) < 10


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_damaged_archives_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packed: Callable[[bytes], bytes]
) -> None:
    archive(tmp_path / "whole.tar", {**classic(["layer.tar"], None), "more": os.urandom(50_000)})
    data = packed((tmp_path / "whole.tar").read_bytes())
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    damaged = [data[: len(data) // 2], data[:20]]
    if packed is not zstandard.compress:  # which writes no checksum unless it is asked to
        damaged.append(bytes(flipped))
    for number, broken in enumerate(damaged):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(broken)
        refused(capsys, "copy", f"docker-archive:{path}", f"oci:{tmp_path}/new:x")
    assert not [name for name in os.listdir(tmp_path) if name.startswith("tmp")]


def test_headers_of_archives_do_not_fill_the_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = header(b"pax", kind=b"x", size=1 << 35)
    source = archive(tmp_path / "a.tar", classic(["layer.tar"], None), front=front)
    with open(tmp_path / "a.tar", "r+b") as output:
        output.truncate(1 << 36)
    assert "exceed" in refused(capsys, "copy", source, f"oci:{tmp_path}/new:x")


def test_an_archive_that_inflates_without_end_is_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "oci_image.transports.archive_members.Limits", lambda: Limits(ratio_free_bytes=1 << 20, ratio=50)
    )
    (tmp_path / "a.tar").write_bytes(lzma.compress(bytes(30 << 20)))
    assert "50 times" in refused(capsys, "copy", f"docker-archive:{tmp_path}/a.tar", f"oci:{tmp_path}/new:x")


def test_only_regular_files_are_read_from_a_directory(
    tmp_path: Path, victim: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "dir"
    place.mkdir()
    os.mkfifo(place / "manifest.json")
    assert "not a regular file" in refused(capsys, "copy", f"dir:{place}", f"oci:{tmp_path}/new:x")
    (place / "manifest.json").unlink()
    (place / "manifest.json").symlink_to(victim / "precious")
    assert "cannot open manifest.json" in refused(capsys, "copy", f"dir:{place}", f"oci:{tmp_path}/new:x")


@pytest.mark.parametrize(
    "digest", ["sha256:../../../victim/precious", "../x:y", "sha256:" + "A" * 64, "md5:" + "0" * 32]
)
def test_digests_are_no_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str], digest: str) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 8}
    config = builder.json({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}, CONFIG)
    builder.add(builder.json({"schemaVersion": 2, "config": config, "layers": [layer]}, MANIFEST))
    assert "digest" in refused(capsys, "unpack", "--image", builder.path, tmp_path / "bundle")
    assert "digest" in refused(capsys, "copy", f"oci:{builder.path}:latest", f"oci:{tmp_path}/new:x")


def test_a_document_of_two_kinds_and_a_file_system_as_a_layer_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    config = builder.json({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}, CONFIG)
    layer = builder.blob(bytes(4096), "application/vnd.erofs.layer.v1")
    builder.add(builder.json({"schemaVersion": 2, "config": config, "layers": [layer]}, MANIFEST))
    assert "unknown layer media type" in refused(
        capsys, "unpack", "--image", builder.path, tmp_path / "bundle"
    )
    both = {"schemaVersion": 2, "config": config, "layers": [], "manifests": []}
    for kind in (INDEX, MANIFEST):
        builder.add(builder.json(both, kind), "both")
        words = refused(capsys, "unpack", "--image", f"{builder.path}:both", tmp_path / "bundle")
        assert "an index and a manifest at once" in words
        builder.manifests.pop()
