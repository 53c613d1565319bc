"""Reading image layouts: what is found, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from oci_image.errors import ImageError, IntegrityError
from oci_image.model.digest import parse_digest
from oci_image.model.document import parse_document
from oci_image.model.image_config import decode_image_config
from oci_image.model.index import decode_index
from oci_image.model.manifest import decode_manifest
from oci_image.model.platform import Platform, parse_platform
from oci_image.model.reference import Reference
from oci_image.store.layout import Layout
from tests.image_builder import CONFIG, INDEX, MANIFEST, Image, LayoutBuilder, make_layout, tar

HOST = Platform("linux", "amd64")


def resolve(path: str, reference: Reference, platform: Platform = HOST) -> str:
    with Layout(path) as layout:
        return str(layout.resolve(reference, platform)[-1].digest)


def refused(path: str, reference: Reference | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        resolve(path, reference or Reference(tag="latest"))
    return f"{caught.value} {caught.value.hint}"


def test_images_are_found_by_tag_by_digest_and_as_the_only_one(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    first = builder.manifest(Image([]))
    builder.add(first, "one")
    assert resolve(builder.path, Reference()) == first["digest"]
    second = builder.manifest(Image([], {"User": "1"}))
    builder.add(second, "two")
    assert resolve(builder.path, Reference(tag="two")) == second["digest"]
    assert resolve(builder.path, Reference(digest=parse_digest(first["digest"]))) == first["digest"]
    assert "one, two" in refused(builder.path, Reference())


def test_a_tag_that_means_two_images_is_refused(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    builder.add(builder.manifest(Image([])), "twice")
    builder.add(builder.manifest(Image([], {"User": "1"})), "twice")
    assert "ambiguous" in refused(builder.path, Reference(tag="twice"))


def test_nested_indexes_are_followed_by_platform(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    platforms = {
        "amd64": {"os": "linux", "architecture": "amd64"},
        "arm64": {"os": "linux", "architecture": "arm64"},
    }
    images = {
        name: builder.manifest(Image([], {"User": name}), platform=platform)
        for name, platform in platforms.items()
    }
    attestation = builder.manifest(Image([]), platform={"os": "unknown", "architecture": "unknown"})
    odd = {**attestation, "mediaType": "application/x-unknown", "platform": platforms["amd64"]}
    inner = builder.json(
        {"schemaVersion": 2, "manifests": [odd, attestation, images["arm64"], images["amd64"]]}, INDEX
    )
    builder.add(builder.json({"schemaVersion": 2, "manifests": [inner]}, INDEX))
    for name, image in images.items():
        assert (
            resolve(builder.path, Reference(tag="latest"), parse_platform(f"linux/{name}")) == image["digest"]
        )
    with Layout(builder.path) as layout, pytest.raises(ImageError, match="s390x"):
        layout.resolve(Reference(), parse_platform("linux/s390x"))


def test_indexes_nested_without_end_are_refused(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    descriptor = builder.manifest(Image([]))
    for _ in range(20):
        descriptor = builder.json({"schemaVersion": 2, "manifests": [descriptor]}, INDEX)
    builder.add(descriptor)
    assert "nested deeper" in refused(builder.path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("oci-layout", b'{"imageLayoutVersion": "2.0.0"}', "version"),
        ("oci-layout", b"[]", "not a JSON object"),
        ("index.json", b"{", "not valid JSON"),
        ("index.json", b'{"schemaVersion": 2, "schemaVersion": 2}', "given twice"),
        ("index.json", b'{"schemaVersion": 1}', "schemaVersion"),
        ("index.json", b'{"schemaVersion": 2, "manifests": [], "layers": []}', "at once"),
        (
            "index.json",
            b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "size": -1}]}',
            "invalid size",
        ),
        (
            "index.json",
            b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "size": true}]}',
            "invalid size",
        ),
        ("index.json", b" " * (4 << 20) + b"{}", "larger than"),
    ],
)
def test_malformed_layouts_are_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = make_layout(str(tmp_path / "layout"), tar())
    Path(path, name).write_bytes(data)
    assert words in refused(path)


def test_a_directory_that_is_no_layout_is_refused(tmp_path: Path) -> None:
    assert "oci-layout" in refused(str(tmp_path))
    assert "cannot open image layout" in refused(str(tmp_path / "absent"))


def test_blobs_are_verified_by_size_and_digest(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    descriptor = builder.manifest(Image([]))
    builder.add(descriptor)
    blob = Path(builder.path, "blobs", descriptor["digest"].replace(":", "/"))
    good = blob.read_bytes()
    with Layout(builder.path) as layout:
        entry = layout.resolve(Reference(), HOST)[-1]
        blob.write_bytes(good[:-1] + b" ")
        with pytest.raises(IntegrityError, match="does not match its digest"):
            layout.read_document(entry)
        blob.write_bytes(good + b" ")
        with pytest.raises(IntegrityError, match="descriptor says"):
            layout.read_document(entry)
        blob.unlink()
        with pytest.raises(ImageError, match="no such file"):
            layout.read_document(entry)


def test_links_out_of_the_layout_are_not_followed(tmp_path: Path) -> None:
    path = make_layout(str(tmp_path / "layout"), tar())
    index = Path(path, "index.json")
    index.rename(tmp_path / "index.json")
    index.symlink_to(tmp_path / "index.json")
    assert "cannot open index.json" in refused(path)
    index.unlink()
    os.mkfifo(index)
    assert "not a regular file" in refused(path)


def test_documents_may_have_nulls_for_what_is_optional() -> None:
    nulls = dict.fromkeys(
        ["User", "Env", "Entrypoint", "Cmd", "Labels", "Volumes", "ExposedPorts", "WorkingDir"]
    )
    document = {"rootfs": {"type": "layers", "diff_ids": None}, "config": nulls}
    config = decode_image_config(json.dumps(document).encode(), where="config")
    assert (config.diff_ids, config.user, config.environment, config.labels) == ((), "", (), {})


@pytest.mark.parametrize(
    "document",
    [
        {"rootfs": {"type": "zip"}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:1"]}},
        {"rootfs": {"type": "layers"}, "config": {"Env": "A=B"}},
        {"rootfs": {"type": "layers"}, "config": {"Env": [1]}},
        {"rootfs": {"type": "layers"}, "config": {"Labels": {"a": 1}}},
        {"rootfs": []},
    ],
)
def test_malformed_configs_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        decode_image_config(json.dumps(document).encode(), where="config")


def test_manifests_that_are_something_else_are_refused() -> None:
    descriptor = {"mediaType": CONFIG, "digest": "sha256:" + "0" * 64, "size": 2}
    good = {"schemaVersion": 2, "config": descriptor, "layers": []}
    assert decode_manifest(json.dumps(good).encode(), where="m").layers == ()
    for wrong in (
        {**good, "manifests": []},
        {**good, "schemaVersion": 1},
        {**good, "mediaType": INDEX},
        {**good, "config": {**descriptor, "mediaType": "application/vnd.oci.empty.v1+json"}},
        {**good, "config": None},
        {**good, "layers": {}},
    ):
        with pytest.raises(ImageError):
            decode_manifest(json.dumps(wrong).encode(), where="m")
    with pytest.raises(ImageError):
        decode_index(json.dumps({"schemaVersion": 2, "mediaType": MANIFEST}).encode(), where="i")


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a": NaN}', b"\xff{}", b'{"a":' * 10_000, b'"text"'])
def test_hostile_json_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_document(data, where="x")
