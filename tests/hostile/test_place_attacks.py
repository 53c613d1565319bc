"""Image layouts, archives and directories that attack whoever reads them or looks after them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.store.content import Store
from tests.image_builder import INDEX, MANIFEST, LayoutBuilder, file, make_layout, tar


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory beside the layout, with files that look like what a store throws away."""
    path = tmp_path / "victim"
    path.mkdir()
    (path / "precious").write_text("precious")
    (path / ("0" * 64)).write_text("precious")
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The command fails as expected; its message."""
    assert main([str(word) for word in words]) == 1
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
    assert "does not match" in refused(capsys, "unpack", "--image", builder.path, tmp_path / "bundle")
    assert "blob" in refused(capsys, "copy", f"oci:{builder.path}:latest", f"oci:{tmp_path}/new:x")
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
