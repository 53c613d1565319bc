"""Pushing to a registry that fails, and what the lists of one may do to a reader."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oci_image.copying import CopyOptions, copy_image
from oci_image.errors import IntegrityError, RegistryError
from oci_image.indexes import create_index
from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.credentials import Credentials
from oci_image.registry.destination import RegistryDestination
from oci_image.registry.listing import list_repositories, list_tags
from oci_image.registry.options import RegistryOptions
from oci_image.registry.origins import Origins
from oci_image.store.content import Store
from oci_image.transfer import copy, pull, push
from tests.faulty_registry import MANIFEST, FaultyRegistry
from tests.image_builder import Layer, file, make_layout, tar

DATA = tar(file(b"a", os.urandom(3 << 20)))
ME = Credentials("me", "secret")


def options(path: Path, chunk_bytes: int = 0) -> RegistryOptions:
    authfile = f"{path}/auth.json"
    return RegistryOptions(credentials=ME, first_wait=0.01, authfile=authfile, chunk_bytes=chunk_bytes)


def layout(path: Path) -> str:
    return make_layout(str(path / "layout"), Layer(DATA, "none"))


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"cut_upload": 1},
        {"cut_upload": 3},
        {"lost_session": 2},
        {"token": 1, "patch_expired": 1},
        {"token": 1, "expired": 1, "cut_upload": 1, "patch_expired": 1},
        {"largest": 1 << 24},
    ],
    ids=str,
)
@pytest.mark.parametrize("chunk", [0, 1 << 20])
def test_an_upload_survives(tmp_path: Path, faults: dict[str, int], chunk: int) -> None:
    with FaultyRegistry(b"", **faults) as registry:
        where = f"{registry.address}/app:2"
        push(f"oci:{layout(tmp_path)}", where, registry=options(tmp_path, chunk_bytes=chunk))
        assert registry.pushed[registry.digest(DATA)] == DATA
        assert "2" in registry.pushed


@pytest.mark.parametrize("status", [400, 415])
@pytest.mark.parametrize(("form", "refused"), [("docker", "oci"), ("oci", "docker")])
def test_a_registry_that_refuses_a_form_gets_the_other(
    tmp_path: Path, form: str, refused: str, status: int
) -> None:
    source = f"oci:{layout(tmp_path)}"
    if refused == "docker":
        copy(source, f"oci:{tmp_path}/docker:a", CopyOptions(form="docker"))
        source = f"oci:{tmp_path}/docker:a"
    with FaultyRegistry(b"", **{f"refuses_{refused}": status}) as registry:
        where = f"docker://{registry.address}/app:2"
        warnings: list[str] = []
        wanted = CopyOptions(warn=warnings.append)
        copied = copy(source, where, wanted, registry=options(tmp_path))
        assert registry.digest(registry.pushed["2"]) == str(copied.root.digest)
        document = json.loads(registry.pushed["2"])
        for each in (document, document["config"], *document["layers"]):
            assert f".{form}." in each["mediaType"]
        assert len(warnings) == 1
        assert str(copied.root.digest) in warnings[0]
        with pytest.raises(RegistryError, match=str(status)):
            copy(source, where, CopyOptions(keep_digests=True), registry=options(tmp_path))
        with pytest.raises(RegistryError, match=str(status)):
            copy(source, where, CopyOptions(form=refused), registry=options(tmp_path))
        registry.faults |= {"refuses_docker": status, "refuses_oci": status}
        with pytest.raises(RegistryError, match=str(status)):
            copy(source, where, registry=options(tmp_path))


def test_an_index_is_converted_as_a_whole_and_an_artifact_never(tmp_path: Path) -> None:
    image = layout(tmp_path)
    create_index("many", [f"oci:{image}"], store=str(tmp_path / "store"))
    with FaultyRegistry(b"", refuses_oci=400) as registry:
        where = f"docker://{registry.address}/app:2"
        everything = CopyOptions(every_platform=True)
        copy("many", where, everything, store=str(tmp_path / "store"), registry=options(tmp_path))
        index = json.loads(registry.pushed["2"])
        assert index["mediaType"].endswith("manifest.list.v2+json")
        below = json.loads(registry.pushed[index["manifests"][0]["digest"]])
        assert below["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
        with Store.open(str(tmp_path / "store")) as store, store.adding():
            blob = store.put_blob(b"{}", "application/vnd.oci.empty.v1+json")
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": blob.to_json(), "layers": []}
            store.tag(store.put_document(manifest, MANIFEST), "artifact")
        with pytest.raises(RegistryError, match="MANIFEST_INVALID"):
            copy("artifact", where, store=str(tmp_path / "store"), registry=options(tmp_path))


def test_a_broken_upload_goes_on_where_it_was(tmp_path: Path) -> None:
    with FaultyRegistry(b"", cut_upload=1) as registry:
        push(f"oci:{layout(tmp_path)}", f"{registry.address}/app:2", registry=options(tmp_path))
        resumed = [
            headers["Content-Range"]
            for method, _, headers in registry.requests
            if method == "PATCH" and "Content-Range" in headers
        ]
    assert len(resumed) == 1
    assert not resumed[0].startswith("0-")


def test_chunks_are_as_large_as_the_registry_wants_them(tmp_path: Path) -> None:
    with FaultyRegistry(b"", least=700_000) as registry:
        push(
            f"oci:{layout(tmp_path)}", f"{registry.address}/app:2", registry=options(tmp_path, chunk_bytes=1)
        )
        sent = [
            int(headers["Content-Length"])
            for _, _, headers in registry.requests
            if "Content-Range" in headers
        ]
    assert set(sent[:-1]) == {700_000}
    assert sum(sent) == len(DATA)


def test_a_registry_that_refuses_large_requests_gets_smaller_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oci_image.registry.uploads._CHUNK", 1 << 20)
    with FaultyRegistry(b"", largest=1 << 20) as registry:
        push(f"oci:{layout(tmp_path)}", f"{registry.address}/app:2", registry=options(tmp_path))
        assert registry.pushed[registry.digest(DATA)] == DATA


def test_a_mount_that_is_refused_is_an_upload(tmp_path: Path) -> None:
    for faults in ({"mount_refused": 9}, {}):
        with FaultyRegistry(b"", **faults) as registry:
            where = f"{registry.address}/app:2"
            push(
                f"oci:{layout(tmp_path / str(len(faults)))}",
                where,
                registry=options(tmp_path),
                mount_from="x/y",
            )
            assert registry.pushed[registry.digest(DATA)] == DATA


def test_a_mount_needs_no_bytes_and_a_token_for_both_repositories(tmp_path: Path) -> None:
    with FaultyRegistry(b"", mounts=1, token=1) as registry:
        where = f"{registry.address}/app:2"
        push(f"oci:{layout(tmp_path)}", where, registry=options(tmp_path), mount_from="team/base")
        assert [method for method, _, _ in registry.requests if method == "PATCH"] == []
        tokens = [path for _, path, _ in registry.requests if path.startswith("/token")]
    wanted = "scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbase%3Apull"
    assert any(wanted in path for path in tokens)


def test_what_was_pulled_from_elsewhere_is_mounted_from_there(tmp_path: Path) -> None:
    with FaultyRegistry(DATA, mounts=1) as registry:
        store = str(tmp_path / "store")
        pulled = pull(f"{registry.address}/app:1", store=store, registry=options(tmp_path))
        push(pulled.name, f"{registry.address}/other:1", store=store, registry=options(tmp_path))
        asked = [path for method, path, _ in registry.requests if method == "POST"]
        assert len(asked) == 2
        assert all("from=app" in path for path in asked)
        registry.pushed.clear()
        forgetful = RegistryOptions(credentials=ME, remember=False)
        push(pulled.name, f"{registry.address}/third:1", store=store, registry=forgetful)
        assert "mount" not in [path for method, path, _ in registry.requests if method == "POST"][-1]


def test_a_broken_cache_of_origins_is_an_empty_one(tmp_path: Path) -> None:
    origins = Origins("reg.example:5000", str(tmp_path / "cache"))
    origins.note("sha256:a", "one")
    origins.note("sha256:a", "two")
    origins.save()
    assert Origins("reg.example:5000", str(tmp_path / "cache")).find("sha256:a", "two") == "one"
    (file_of_it,) = (tmp_path / "cache").iterdir()
    assert file_of_it.stat().st_mode & 0o777 == 0o600
    for text in ("", "[]", '{"sha256:a": 1}', "[" * 100000):
        file_of_it.write_text(text)
        assert Origins("reg.example:5000", str(tmp_path / "cache")).find("sha256:a", "") == ""


def test_what_is_not_what_it_should_be_is_not_sent(tmp_path: Path) -> None:
    path = layout(tmp_path)
    blob = max(Path(path, "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    blob.write_bytes(bytes(len(DATA)))
    with FaultyRegistry(b"") as registry:
        with pytest.raises(IntegrityError):
            copy(f"oci:{path}", f"docker://{registry.address}/app:2", registry=options(tmp_path))
        assert "2" not in registry.pushed


def test_every_session_that_breaks_ends_in_an_error(tmp_path: Path) -> None:
    with FaultyRegistry(b"", lost_session=99) as registry:
        with pytest.raises(RegistryError, match="404"):
            push(f"oci:{layout(tmp_path)}", f"{registry.address}/app:2", registry=options(tmp_path))
        assert "2" not in registry.pushed


def test_pages_are_followed_and_circles_noticed(tmp_path: Path) -> None:
    with FaultyRegistry(b"", page=2, token=1) as registry:
        registry.tags = [str(number) for number in range(7)]
        registry.repositories = ["a", "b", "c"]
        reference = parse_registry_reference(f"{registry.address}/app")
        assert list_tags(reference, options(tmp_path)) == registry.tags
        assert list_repositories(registry.address, options(tmp_path)) == ["a", "b", "c"]
        registry.faults["circle"] = 1
        with pytest.raises(RegistryError, match="circle"):
            list_tags(reference, options(tmp_path))


def test_a_destination_that_is_left_has_no_new_tag(tmp_path: Path) -> None:
    from oci_image.locations import open_source

    with FaultyRegistry(b"") as registry:
        source = open_source(f"oci:{layout(tmp_path)}")
        destination = RegistryDestination(
            parse_registry_reference(f"{registry.address}/app:2"), options(tmp_path)
        )
        destination.put_root = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            copy_image(source, destination)
        destination.close()
        source.close()
        assert "2" not in registry.pushed
