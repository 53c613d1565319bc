"""Images between layouts, archives and directories: bytes and digests stay, and lies are refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from oci_image.cli.main import main
from oci_image.copying import CopyOptions, copy_image
from oci_image.errors import ImageError, IntegrityError
from oci_image.locations import open_destination, open_source, split_location
from oci_image.model.platform import parse_platform
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import (
    CONFIG,
    INDEX,
    MANIFEST,
    Image,
    Layer,
    LayoutBuilder,
    compress,
    file,
    make_layout,
    tar,
)

PLACES = ["oci:{}/new:x", "oci-archive:{}/new.tar:x", "docker-archive:{}/new.tar:x.example/y:1", "dir:{}/new"]


def copy(source_text: str, destination_text: str, options: CopyOptions | None = None) -> str:
    source = open_source(source_text)
    try:
        destination = open_destination(destination_text)
        try:
            result = copy_image(source, destination, options)
            destination.commit()
        finally:
            destination.close()
    finally:
        source.close()
    return str(result.root.digest)


def example(path: Path) -> str:
    layers = [Layer(tar(file(b"a", os.urandom(3 << 20)))), Layer(tar(file(b"b", b"b")), "zstd")]
    return make_layout(str(path / "layout"), *layers)


def multi_platform(path: Path) -> LayoutBuilder:
    builder = LayoutBuilder(str(path / "layout"))
    images = [
        builder.manifest(
            Image([Layer(tar(file(name.encode(), b"x")))]), platform={"os": "linux", "architecture": name}
        )
        for name in ("amd64", "arm64")
    ]
    builder.add(builder.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}, INDEX))
    return builder


def content(path: str) -> set[str]:
    with Store.open(path) as store:
        assert check_store(store).faults == ()
        return {digest for digest, _, _ in store.blobs()}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("every_platform", [False, True])
def test_an_image_comes_back_from_every_place_as_it_was(
    tmp_path: Path, place: str, *, every_platform: bool
) -> None:
    path = multi_platform(tmp_path).path if every_platform else example(tmp_path)
    options = CopyOptions(every_platform=every_platform)
    there = place.format(tmp_path)
    digest = copy(f"oci:{path}:latest", there, options)
    assert copy(there, f"oci:{tmp_path}/back:again", options) == digest
    assert content(f"{tmp_path}/back") == content(path)


def test_one_platform_of_an_index_is_chosen(tmp_path: Path) -> None:
    builder = multi_platform(tmp_path)
    for name in ("amd64", "arm64"):
        options = CopyOptions(platform=parse_platform(f"linux/{name}"))
        copy(f"oci:{builder.path}", f"oci:{tmp_path}/{name}:x", options)
        assert len(content(f"{tmp_path}/{name}")) == 3
    with pytest.raises(ImageError, match="s390x") as caught:
        copy(
            f"oci:{builder.path}", f"oci:{tmp_path}/no:x", CopyOptions(platform=parse_platform("linux/s390x"))
        )
    assert "linux/amd64, linux/arm64" in caught.value.hint


def test_forms_are_converted_and_back(tmp_path: Path) -> None:
    builder = multi_platform(tmp_path)
    copy(f"oci:{builder.path}", f"oci:{tmp_path}/docker:x", CopyOptions(form="docker", every_platform=True))
    source = open_source(f"oci:{tmp_path}/docker:x")
    root, data = source.root()
    assert root.media_type.endswith("manifest.list.v2+json")
    manifest = json.loads(source.document(open_index(data)))
    source.close()
    assert manifest["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
    assert manifest["layers"][0]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    copy(f"oci:{tmp_path}/docker:x", f"oci:{tmp_path}/oci:x", CopyOptions(form="oci", every_platform=True))
    assert content(f"{tmp_path}/oci").isdisjoint(content(f"{tmp_path}/docker")) is False


def open_index(data: bytes) -> Any:
    from oci_image.model.index import decode_index

    return decode_index(data, where="index").manifests[0]


def test_artifacts_and_referrers_are_copied(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    image = builder.manifest(Image([Layer(tar())]))
    builder.add(image)
    empty = builder.blob(b"{}", "application/vnd.oci.empty.v1+json")
    signature = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x-signature",
        "config": empty,
        "layers": [builder.blob(b"signed", "application/x-signature")],
        "subject": image,
    }
    builder.add(builder.json(signature, MANIFEST), "")
    for place in PLACES[:3]:
        there = place.format(tmp_path)
        copy(f"oci:{builder.path}:latest", there, CopyOptions(referrers=True))
        target = f"{tmp_path}/back-{place.partition(':')[0]}"
        copy(there, f"oci:{target}:x", CopyOptions(referrers=True))
        assert content(target) == content(builder.path)


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_blob_makes_nothing(tmp_path: Path, place: str) -> None:
    plain = tar(file(b"a", b"a" * 5000))
    blob = compress(plain, "gzip")
    layer = Layer(plain, blob=blob, digest="sha256:" + hashlib.sha256(b"other").hexdigest())
    path = make_layout(str(tmp_path / "layout"), layer)
    with pytest.raises(IntegrityError, match="does not match its digest"):
        copy(f"oci:{path}", place.format(tmp_path))
    with pytest.raises(ImageError):
        open_source(place.format(tmp_path)).root()
    assert not list(tmp_path.glob(".new*"))
    if place.startswith("oci:"):
        with Store.open(f"{tmp_path}/new") as store:
            assert store.entries() == []
            assert check_store(store).faults == ()


def classic_archive(path: Path, *, layer_name: str = "layer.tar", diff_ids: int = 1) -> str:
    plain = tar(file(b"hello", b"world"))
    digest = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest] * diff_ids},
        }
    ).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": [layer_name]}]).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("c.json", config), ("real.tar", plain), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "real.tar"
        archive.addfile(link)
        outside = tarfile.TarInfo("outside")
        outside.type, outside.linkname = tarfile.SYMTYPE, "../../../../etc/passwd"
        archive.addfile(outside)
    return str(path)


def test_a_classic_docker_archive_is_read_through_its_links(tmp_path: Path) -> None:
    path = classic_archive(tmp_path / "a.tar.gz")
    for name in ("", ":app:1", ":docker.io/library/app:1"):
        copy(f"docker-archive:{path}{name}", f"oci:{tmp_path}/out:x")
    assert len(content(f"{tmp_path}/out")) == 3


@pytest.mark.parametrize("layer", ["outside", "../../etc/passwd", "absent"])
def test_an_archive_that_points_out_of_itself_is_refused(tmp_path: Path, layer: str) -> None:
    path = classic_archive(tmp_path / "a.tar", layer_name=layer)
    with pytest.raises(ImageError, match="archive has no"):
        open_source(f"docker-archive:{path}")


def test_other_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = classic_archive(tmp_path / "a.tar", diff_ids=2)
    with pytest.raises(ImageError, match="diff IDs"):
        open_source(f"docker-archive:{path}")
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[:100])
    with pytest.raises(ImageError):
        open_source(f"docker-archive:{path}")
    Path(path).write_bytes(b"no archive at all")
    with pytest.raises(ImageError, match="not a tar"):
        open_source(f"docker-archive:{path}")


def test_an_index_that_explodes_or_claims_an_absurd_size_is_refused(tmp_path: Path) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    builder.add({"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1 << 40}, "huge")
    descriptor = builder.manifest(Image([]))
    for _ in range(12):
        descriptor = builder.json({"schemaVersion": 2, "manifests": [descriptor, descriptor]}, INDEX)
    builder.add(descriptor, "deep")
    for name, words in (("huge", "larger than"), ("deep", "nested deeper")):
        with pytest.raises(ImageError, match=words):
            copy(f"oci:{builder.path}:{name}", f"oci:{tmp_path}/out:x", CopyOptions(every_platform=True))
    assert content(f"{tmp_path}/out") == set()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("alpine", ("", "alpine", "")),
        ("oci:/a/b:reg.example/x:1", ("oci:", "/a/b", "reg.example/x:1")),
        ("docker://reg.example:5000/x:1", ("docker://", "reg.example:5000/x:1", "")),
        ("dir:/a:b", ("dir:", "/a:b", "")),
    ],
)
def test_places_are_split_as_written(text: str, parts: tuple[str, str, str]) -> None:
    assert split_location(text) == parts


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0, words
    return capsys.readouterr().out


def test_the_verbs_of_a_day_with_local_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_IMAGE_STORE", f"{tmp_path}/store")
    path = example(tmp_path)
    digest = json.loads(run(capsys, "copy", "--json", f"oci:{path}:latest", "app"))["digest"]
    run(capsys, "tag", "app", "team/app:2")
    assert "docker.io/team/app:2" in run(capsys, "list")
    assert json.loads(run(capsys, "inspect", "app"))["Digest"] == digest
    raw = run(capsys, "inspect", "--raw", "app")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
    assert json.loads(run(capsys, "inspect", "--config", "app"))["os"] == "linux"
    assert run(capsys, "inspect", "--format", "{Os}/{Architecture}", "app") == "linux/amd64\n"
    assert len(json.loads(run(capsys, "history", "--json", "app"))) == 2
    assert json.loads(run(capsys, "stat", "--json", "app"))["descriptor"]["digest"] == digest
    assert f"manifest  {digest}" in run(capsys, "stat", "app")
    run(capsys, "save", "-o", f"{tmp_path}/saved.tar", "app", "team/app:2")
    run(capsys, "remove", "--gc", "app", "team/app:2")
    with Store.open(f"{tmp_path}/store") as store:
        assert (store.entries(), list(store.blobs())) == ([], [])
    run(capsys, "load", "-i", f"{tmp_path}/saved.tar")
    assert "0 faults" in run(capsys, "verify")
    assert json.loads(run(capsys, "list", "--json"))[1]["digest"] == digest
    run(capsys, "gc")
    assert main(["inspect", "absent"]) == 1
    assert "no such image" in capsys.readouterr().err
    blob = next(Path(f"{tmp_path}/store/blobs/sha256").iterdir())
    blob.write_bytes(b"damaged")
    assert main(["verify"]) == 1


def test_a_config_is_never_parsed_by_guess(tmp_path: Path) -> None:
    assert CONFIG.endswith("config.v1+json")
    builder = LayoutBuilder(str(tmp_path / "layout"))
    builder.add({"mediaType": "application/x-unknown", "digest": "sha256:" + "0" * 64, "size": 3})
    with pytest.raises(ImageError, match="no such file"):
        copy(f"oci:{builder.path}", f"oci:{tmp_path}/out:x")
