"""Pulling from a registry that fails: what is overcome, what is refused, and that the store stays right."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.copying import copy_image
from oci_image.errors import ImageError, IntegrityError, RegistryError
from oci_image.model.digest import parse_digest
from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.credentials import Credentials, find_credentials, store_credentials
from oci_image.registry.listing import Deleted, delete_image
from oci_image.registry.options import RegistryOptions
from oci_image.registry.source import RegistrySource
from oci_image.store.check import check_store
from oci_image.store.content import Store
from oci_image.transports.layout import LayoutDestination
from tests.faulty_registry import FaultyRegistry

LAYER = os.urandom(3 << 20)
ME = Credentials("me", "secret")


def pull(registry: FaultyRegistry, store: Path, credentials: Credentials | None = ME) -> None:
    options = RegistryOptions(
        credentials=credentials, first_wait=0.01, authfile=f"{store}.auth", read_timeout=0.5
    )
    source = RegistrySource(parse_registry_reference(f"{registry.address}/app:1"), options)
    destination = LayoutDestination(str(store), "app")
    try:
        copy_image(source, destination)
        destination.commit()
    finally:
        destination.close()
        source.close()


def blobs(store: Path) -> int:
    with Store.open(str(store)) as opened:
        assert check_store(opened).faults == ()
        return len(list(opened.blobs()))


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"too_many": 3},
        {"unavailable": 3},
        {"drop": 3},
        {"drop": 2, "no_ranges": 9},
        {"drop": 2, "changed": 1},
        {"stall": 2},
        {"token": 1},
        {"token": 1, "expired": 1},
        {"token": 1, "expired": 2, "drop": 6},
        {"redirect": 1},
        {"redirect": 1, "drop": 2, "token": 1, "too_many": 1},
    ],
    ids=str,
)
def test_what_passes_is_overcome(tmp_path: Path, faults: dict[str, int]) -> None:
    with FaultyRegistry(LAYER, **faults) as registry:
        pull(registry, tmp_path / "store")
    assert blobs(tmp_path / "store") == 3


def test_a_broken_download_goes_on_by_range(tmp_path: Path) -> None:
    with FaultyRegistry(LAYER, drop=1) as registry:
        pull(registry, tmp_path / "store")
        ranges = [headers["Range"] for _, _, headers in registry.requests if "Range" in headers]
    assert len(ranges) == 1
    assert ranges[0] != "bytes=0-"


@pytest.mark.parametrize(
    ("fault", "count", "error"),
    [
        ("wrong_bytes", 9, IntegrityError),
        ("endless", 9, IntegrityError),
        ("wrong_manifest", 1, IntegrityError),
        ("huge_manifest", 1, ImageError),
        ("unavailable", 99, RegistryError),
        ("too_many", 99, RegistryError),
    ],
)
def test_what_stays_wrong_is_refused_and_the_next_pull_succeeds(
    tmp_path: Path, fault: str, count: int, error: type[ImageError]
) -> None:
    with FaultyRegistry(LAYER, **{fault: count}) as registry:
        with pytest.raises(error):
            pull(registry, tmp_path / "store")
        with Store.open(str(tmp_path / "store")) as store:
            assert store.entries() == []
            assert not store.has_blob(parse_digest(registry.digest(LAYER)))
        registry.faults.clear()
        pull(registry, tmp_path / "store")
    assert blobs(tmp_path / "store") == 3


def test_wrong_credentials_are_told_once(tmp_path: Path) -> None:
    with FaultyRegistry(LAYER, token=1) as registry:
        for credentials in (None, Credentials("me", "wrong")):
            with pytest.raises(RegistryError, match="401") as caught:
                pull(registry, tmp_path / "store", credentials)
            assert "login" in caught.value.hint


def test_what_is_deleted_is_said(tmp_path: Path) -> None:
    options = RegistryOptions(credentials=ME, first_wait=0.01, authfile=str(tmp_path / "auth.json"))
    for faults, what, tags in (({}, "tag", ("1",)), ({"tags_stay": 1}, "manifest", ("1", "also"))):
        with FaultyRegistry(LAYER, token=1, **faults) as registry:
            registry.tags = ["1", "also", "other"]
            digest = registry.digest(registry.manifest)
            registry.pushed |= {"1": registry.manifest, "also": registry.manifest, "other": b"{}"}
            reference = parse_registry_reference(f"{registry.address}/app:1")
            assert delete_image(reference, options) == Deleted(what, digest, tags)
            gone = [path.rpartition("/")[2] for method, path, _ in registry.requests if method == "DELETE"]
            assert gone[-1] == ("1" if what == "tag" else digest)


def test_a_login_goes_where_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    helper = tmp_path / "docker-credential-keeper"
    helper.write_text(
        f"#!/bin/sh\ncase $1 in\nstore) cat > {tmp_path}/kept ;;\nerase) rm {tmp_path}/kept ;;\n"
        f"get) cat {tmp_path}/kept 2>/dev/null && exit\n"
        "echo credentials not found in native keychain; exit 1 ;;\nesac\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with FaultyRegistry(LAYER, token=1) as registry:
        for document in ({}, {"credsStore": "keeper"}, {"credHelpers": {registry.address: "keeper"}}):
            path = tmp_path / "auth.json"
            path.write_text(json.dumps(document))
            monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
            monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
            assert main(["login", "-u", "me", "--password-stdin", registry.address]) == 4
            monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
            assert main(["login", "-u", "me", "--password-stdin", registry.address]) == 0
            assert (tmp_path / "kept").exists() == bool(document)
            assert main(["pull", "--store", str(tmp_path / "store"), f"{registry.address}/app:1"]) == 0
            assert main(["logout", registry.address]) == 0
            assert not (tmp_path / "kept").exists()
            assert main(["logout", registry.address]) == 4
    assert "not logged in" in capsys.readouterr().err


def test_a_token_of_the_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    with FaultyRegistry(LAYER, token=1) as registry:
        registry.tokens.add("Bearer given")
        path.write_text(json.dumps({"auths": {registry.address: {"registrytoken": "given"}}}))
        reference = parse_registry_reference(f"{registry.address}/app:1")
        options = RegistryOptions(authfile=str(path), first_wait=0.01)
        source = RegistrySource(reference, options)
        assert source.root()[1] == registry.manifest
        source.close()
        registry.tokens.clear()
        source = RegistrySource(reference, options)
        with pytest.raises(RegistryError, match="401"):
            source.root()
        source.close()


def test_exit_codes_say_what_kind_of_failure_it_was(tmp_path: Path) -> None:
    for faults, code in (({"wrong_bytes": 9}, 3), ({"too_many": 99}, 4), ({"huge_manifest": 9}, 1)):
        with FaultyRegistry(LAYER, **faults) as registry:
            words = ["pull", "-q", "--store", str(tmp_path / "store"), f"{registry.address}/app:1"]
            assert main(words) == code, faults


def test_a_token_is_not_sent_to_another_host(tmp_path: Path) -> None:
    with FaultyRegistry(LAYER, token=1, redirect=1) as registry:
        pull(registry, tmp_path / "store")
        elsewhere = [headers for _, path, headers in registry.requests if path.startswith("/elsewhere/")]
    assert len(elsewhere) == 2
    assert not [headers for headers in elsewhere if "Authorization" in headers]


def test_the_most_specific_credentials_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "auth.json")
    store_credentials("reg.example", Credentials("all", "1"), path)
    store_credentials("reg.example/team", Credentials("team", "2"), path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert find_credentials("reg.example", "team/app", path) == Credentials("team", "2")
    assert find_credentials("reg.example", "other", path) == Credentials("all", "1")
    assert find_credentials("else.example", "team/app", path) is None
    store_credentials("reg.example", None, path)
    with pytest.raises(RegistryError, match="not logged in"):
        store_credentials("reg.example", None, path)
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Path(path).write_text(json.dumps({"credHelpers": {"reg.example": "test"}}))
    assert find_credentials("reg.example", "x", path) == Credentials("reg.example", "s")
