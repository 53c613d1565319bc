"""Indexes are made, changed and pushed, and every other part of them stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.indexes import EntryChanges, add_to_index, annotate_entry, create_index, read_index
from oci_image.store.check import check_store
from oci_image.store.content import Store
from oci_image.transfer import copy
from pyruntime.base.errors import UsageError
from tests.faulty_registry import FaultyRegistry
from tests.image_builder import INDEX, Image, Layer, LayoutBuilder, file, make_layout, tar

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OCI_IMAGE_STORE", f"{tmp_path}/store")
    return f"{tmp_path}/store"


def image(tmp_path: Path, architecture: str) -> str:
    layer = tar(file(architecture.encode()))
    return "oci:" + make_layout(
        str(tmp_path / architecture), layer, properties={"architecture": architecture, "os": "linux"}
    )


def run(capsys: Capture, *words: str) -> Any:
    assert main(["manifest", "--json", *words]) == 0, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


def test_an_index_is_made_and_changed_and_pushed(store: str, tmp_path: Path, capsys: Capture) -> None:
    one, two, three = (image(tmp_path, name) for name in ("amd64", "arm64", "riscv64"))
    copy(one, "a.example/app:amd64")
    run(capsys, "create", "a.example/app:1", "a.example/app:amd64", two, "--annotation", "by=me")
    with pytest.raises(ImageError, match="taken"):
        create_index("a.example/app:1")
    run(
        capsys,
        "add",
        "a.example/app:1",
        three,
        "--variant",
        "v9",
        "--os-features",
        "x",
        "--annotation",
        "k=v",
    )
    run(capsys, "annotate", "--os-version", "10.0", "a.example/app:1", "linux/amd64")
    run(capsys, "annotate", "--annotation", "by=", "--annotation", "for=you", "a.example/app:1")
    run(capsys, "remove", "a.example/app:1", "linux/arm64")
    made = run(capsys, "inspect", "a.example/app:1")
    assert made["mediaType"] == INDEX
    assert made["annotations"] == {"for": "you"}
    platforms = [entry["platform"] for entry in made["manifests"]]
    assert platforms == [
        {"os": "linux", "architecture": "amd64", "os.version": "10.0"},
        {"os": "linux", "architecture": "riscv64", "variant": "v9", "os.features": ["x"]},
    ]
    assert made["manifests"][1]["annotations"] == {"k": "v"}
    with Store.open(store) as opened:
        assert check_store(opened).faults == ()
        names = {
            entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
            for entry in opened.entries()
        }
        assert names == {"a.example/app:amd64", "a.example/app:1"}, "older indexes are not kept"
        opened.collect()
        assert check_store(opened).faults == ()
    with FaultyRegistry(b"") as registry:
        run(capsys, "push", "a.example/app:1", f"{registry.address}/app:9")
        assert json.loads(registry.pushed["9"]) == made
        assert all(entry["digest"] in registry.pushed for entry in made["manifests"])


def test_of_an_index_one_image_or_all_are_added(store: str, tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "both"))
    images = [
        builder.manifest(
            Image([Layer(tar(file(name.encode())))]), platform={"os": "linux", "architecture": name}
        )
        for name in ("amd64", "s390x")
    ]
    builder.add(builder.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}, INDEX))
    create_index("a.example/all:1", [f"oci:{builder.path}"], whole=True)
    assert read_index("a.example/all:1")["manifests"] == images
    add_to_index("a.example/all:1", f"oci:{builder.path}", EntryChanges(variant="v1"), whole=True)
    changed = read_index("a.example/all:1")["manifests"]
    assert [entry["platform"]["variant"] for entry in changed] == ["v1", "v1"], "entries are replaced"


def test_docker_has_no_annotations_and_images_are_no_indexes(
    store: str, tmp_path: Path, capsys: Capture
) -> None:
    one = image(tmp_path, "amd64")
    with pytest.raises(UsageError):
        create_index("a.example/d:1", [one], docker=True, annotations={"a": "b"})
    create_index("a.example/d:1", [one], docker=True)
    assert "manifest.list.v2" in read_index("a.example/d:1")["mediaType"]
    assert main(["manifest", "annotate", "--annotation", "a=b", "a.example/d:1"]) == 1
    copy(one, "a.example/image:1")
    with pytest.raises(ImageError, match="no index"):
        read_index("a.example/image:1")
    with pytest.raises(ImageError, match="no entry"):
        annotate_entry("a.example/d:1", "linux/mips", EntryChanges(variant="x"))
    for words in (["add", "x"], ["remove", "x"], ["inspect", "x", "y"], ["push", "x", "y", "z"]):
        assert main(["manifest", *words]) == 2
