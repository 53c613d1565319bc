"""A day with a real registry, and with skopeo on its other side."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.listing import list_repositories, list_tags
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import INDEX, MANIFEST, Image, Layer, LayoutBuilder, file, make_layout, tar
from tests.privileged.registries import running_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OCI_IMAGE_STORE", f"{tmp_path}/store")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{tmp_path}/auth.json")
    return f"{tmp_path}/store"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0, (words, capsys.readouterr())
    return capsys.readouterr().out


def skopeo(*words: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_day_of_work_with_a_registry(
    registry: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [Layer(tar(file(b"big", os.urandom(8 << 20)))), Layer(tar(file(b"b", b"b")), "zstd")]
    path = make_layout(str(tmp_path / "layout"), *layers)
    name = f"{registry}/team/app"
    digest = json.loads(run(capsys, "copy", "--json", f"oci:{path}", f"{name}:1"))["digest"]
    pushed = json.loads(run(capsys, "push", "--json", f"{name}:1"))
    assert (pushed["digest"], pushed["copied"]) == (digest, 3)
    assert json.loads(run(capsys, "push", "--json", f"{name}:1"))["copied"] == 0
    other = f"{registry}/team/other:1"
    mounted = json.loads(run(capsys, "push", "--json", "--mount-from", "team/app", f"{name}:1", other))
    assert mounted["digest"] == digest
    assert json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}:1"))["Digest"] == digest
    assert "team/app" in list_repositories(registry)
    assert run(capsys, "list-tags", f"docker://{name}") == "1\n"
    assert "team/other" in run(capsys, "catalog", registry)
    run(capsys, "remove", "--gc", f"{name}:1")
    assert json.loads(run(capsys, "pull", "--json", f"{name}:1"))["digest"] == digest
    assert json.loads(run(capsys, "inspect", f"docker://{name}:1"))["Digest"] == digest
    with Store.open(store) as opened:
        assert check_store(opened).faults == ()
    assert "deleted" in run(capsys, "delete", other)
    assert main(["pull", other]) == 4
    assert "404" in capsys.readouterr().err


def test_indexes_and_referrers_come_back(
    registry: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = LayoutBuilder(str(tmp_path / "layout"))
    images = [
        builder.manifest(
            Image([Layer(tar(file(name.encode(), b"x")))]), platform={"os": "linux", "architecture": name}
        )
        for name in ("amd64", "arm64")
    ]
    index = builder.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}, INDEX)
    builder.add(index)
    signature = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x-signature",
        "config": builder.blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [builder.blob(b"signed", "application/x-signature")],
        "subject": index,
    }
    builder.add(builder.json(signature, MANIFEST), "")
    name = f"docker://{registry}/signed:1"
    run(capsys, "copy", "--all", "--referrers", f"oci:{builder.path}:latest", name)
    run(capsys, "copy", "--all", "--referrers", name, f"oci:{tmp_path}/back:latest")
    with Store.open(builder.path) as one, Store.open(f"{tmp_path}/back") as other:
        assert {digest for digest, _, _ in one.blobs()} == {digest for digest, _, _ in other.blobs()}
        assert check_store(other).faults == ()
    assert run(capsys, "copy", "--platform", "linux/arm64", name, f"oci:{tmp_path}/arm:x")
    assert len(list_tags(parse_registry_reference(f"{registry}/signed"))) == 2  # the fallback tag is one


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_skopeo_reads_what_we_write_and_we_what_it_writes(
    tmp_path: Path, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_layout(str(tmp_path / "layout"), tar(file(b"a", b"a" * 5000)))
    name = {"oci": ":x", "oci-archive": ":x", "docker-archive": ":docker.io/library/x:1", "dir": ""}[
        transport
    ]
    ours, theirs = (f"{transport}:{tmp_path}/{who}{name}" for who in ("ours", "theirs"))
    run(capsys, "copy", f"oci:{path}", ours)
    skopeo("copy", ours, f"oci:{tmp_path}/read:x")
    skopeo("copy", f"oci:{path}:latest", theirs)
    run(capsys, "copy", theirs, f"oci:{tmp_path}/back:x")
    with Store.open(f"{tmp_path}/back") as store:
        assert check_store(store).faults == ()
    wanted = json.loads(skopeo("inspect", "--config", f"oci:{path}:latest"))["rootfs"]
    for copy in ("read", "back"):
        assert json.loads(skopeo("inspect", "--config", f"oci:{tmp_path}/{copy}:x"))["rootfs"] == wanted


def test_umoci_reads_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = b"a" * 5000
    path = make_layout(str(tmp_path / "layout"), tar(file(b"a", data)))
    run(capsys, "copy", f"oci:{path}", f"oci:{tmp_path}/ours:x")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/ours:x", f"{tmp_path}/bundle"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    found = (tmp_path / "bundle/rootfs/a").read_bytes()
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("scoped", [(), ("--scoped",)])
def test_sync_names_things_as_skopeo_does(
    registry: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], scoped: tuple[str, ...]
) -> None:
    path = make_layout(str(tmp_path / "layout"), tar(file(b"a", b"a")))
    repository = f"{registry}/mirrored/app{len(scoped)}"
    for tag in ("1", "2.0"):
        run(capsys, "copy", f"oci:{path}", f"docker://{repository}:{tag}")
    words = ("sync", "--src", "docker", "--dest", "dir", *scoped, repository)
    skopeo(*words[:5], *scoped, "--src-tls-verify=false", repository, f"{tmp_path}/theirs")
    run(capsys, *words, f"{tmp_path}/ours")

    def tree(top: Path) -> set[str]:
        return {str(found.relative_to(top)) for found in top.rglob("*")}

    assert tree(tmp_path / "ours") == tree(tmp_path / "theirs")
    back = f"{registry}/back{len(scoped)}"
    skopeo("sync", "--src", "dir", "--dest", "docker", "--dest-tls-verify=false", f"{tmp_path}/ours", back)
    run(capsys, "sync", "--src", "dir", "--dest", "docker", f"{tmp_path}/theirs", f"{back}-ours")
    ours = [
        name.removeprefix("back1-ours/")
        for name in list_repositories(registry)
        if name.startswith("back1-ours/")
    ]
    theirs = [
        name.removeprefix("back1/") for name in list_repositories(registry) if name.startswith("back1/")
    ]
    assert ours == theirs


def test_an_index_that_was_put_together_is_read_by_skopeo(
    registry: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = []
    for name in ("amd64", "arm64"):
        path = make_layout(
            str(tmp_path / name),
            tar(file(b"a", name.encode())),
            properties={"os": "linux", "architecture": name},
        )
        places.append(f"docker://{registry}/parts/{name}:1")
        run(capsys, "copy", f"oci:{path}", places[-1])
    run(capsys, "manifest", "create", f"{registry}/whole:1", *places)
    run(capsys, "manifest", "push", f"{registry}/whole:1")
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry}/whole:1"))
    assert [entry["platform"]["architecture"] for entry in raw["manifests"]] == ["amd64", "arm64"]
    skopeo(
        "copy", "--all", "--src-tls-verify=false", f"docker://{registry}/whole:1", f"oci:{tmp_path}/back:x"
    )
    with Store.open(f"{tmp_path}/back") as opened:
        assert check_store(opened).faults == ()
        assert len(list(opened.blobs())) == 7
