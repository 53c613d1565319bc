"""Mirrors of registries.conf and hosts.toml: which are asked, in which order, and what is not believed of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oci_image.copying import CopyOptions
from oci_image.errors import RegistryError
from oci_image.inspecting import inspect_image
from oci_image.model.digest import parse_digest
from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.credentials import Credentials
from oci_image.registry.hosts_toml import hosts_endpoints
from oci_image.registry.listing import list_tags
from oci_image.registry.options import RegistryOptions
from oci_image.store.check import check_store
from oci_image.store.content import Store
from oci_image.transfer import copy, pull
from tests.faulty_registry import FaultyRegistry


def read(path: Path, text: str) -> None:
    (path / "registries.conf").write_text(text)


def test_mirrors_are_tried_in_order_and_one_that_breaks_is_left(tmp_path: Path) -> None:
    layer = bytes(3 << 20)
    with FaultyRegistry(layer, unavailable=99) as absent, FaultyRegistry(layer, drop=99) as broken:
        with FaultyRegistry(layer) as whole:
            conf = f'[[registry]]\nprefix = "r.example"\nlocation = "{whole.address}"\n' + "".join(
                f'[[registry.mirror]]\nlocation = "{mirror.address}"\n' for mirror in (absent, broken)
            )
            read(tmp_path, conf)
            options = RegistryOptions(registries_conf=f"{tmp_path}/registries.conf", first_wait=0.001)
            store = str(tmp_path / "store")
            pulled = pull("r.example/app:1", store=store, registry=options)
            assert list_tags(parse_registry_reference("r.example/app"), options) == ["1"]
            resumed = [headers for _, _, headers in whole.requests if "Range" in headers]
        assert pulled.name == "r.example/app:1"
        assert len(absent.requests) > 0
        assert len(resumed) == 1, "what the mirror gave is not fetched again"
        assert not [path for _, path, _ in whole.requests if "/manifests/" in path]
    with Store.open(store) as opened:
        assert len(list(opened.blobs())) == 3


@pytest.mark.parametrize("place", ["store", "oci", "oci-archive", "docker-archive", "dir"])
@pytest.mark.parametrize(
    "faults",
    [{"wrong_bytes": 99}, {"wrong_bytes": 99, "drop": 99}, {"wrong_manifest": 99}, {"huge_manifest": 99},
     {"cut_manifest": 99}, {"endless": 99}],
    ids=str,
)  # fmt: skip
def test_a_mirror_that_gives_something_else_is_left(
    tmp_path: Path, faults: dict[str, int], place: str
) -> None:
    layer = os.urandom(3 << 20)
    with FaultyRegistry(layer, **faults) as wrong, FaultyRegistry(layer) as right:
        text = f'[[registry]]\nprefix = "r.example"\nlocation = "{right.address}"\n'
        read(tmp_path, text + f'[[registry.mirror]]\nlocation = "{wrong.address}"\n')
        options = RegistryOptions(registries_conf=f"{tmp_path}/registries.conf", first_wait=0.001)
        target = "name:1" if place == "store" else f"{place}:{tmp_path}/made" + ":1" * (place != "dir")
        warnings: list[str] = []
        store = str(tmp_path / "store")
        copied = copy(
            "docker://r.example/app:1",
            target,
            CopyOptions(warn=warnings.append),
            store=store,
            registry=options,
        )
        assert copied.root.digest == parse_digest(right.digest(right.manifest))
        assert len(wrong.requests) > 0
        if "wrong_bytes" in faults:
            assert [wrong.address in line for line in warnings] == [True]
    image = inspect_image(target, store=store)
    assert image.config["os"] == "linux"
    copy(target, "again:1", store=store)
    with Store.open(store) as opened:
        assert check_store(opened).faults == ()
        assert opened.has_blob(parse_digest(right.digest(layer)))


def test_credentials_of_the_caller_are_for_the_registry_and_not_for_mirrors(tmp_path: Path) -> None:
    with FaultyRegistry(b"layer", token=1) as mirror, FaultyRegistry(b"layer", token=1) as right:
        read(tmp_path, f'[[registry]]\nprefix = "{right.address}"\n'
             f'[[registry.mirror]]\nlocation = "{mirror.address}"\n')  # fmt: skip
        options = RegistryOptions(
            registries_conf=f"{tmp_path}/registries.conf", authfile=f"{tmp_path}/auth.json", first_wait=0.001,
            credentials=Credentials("me", "secret"),
        )  # fmt: skip
        store = str(tmp_path / "store")
        pull(f"{right.address}/app:1", store=store, registry=options)
        assert list_tags(parse_registry_reference(f"{right.address}/app"), options) == ["1"]
        asked = [headers.get("Authorization", "") for _, path, headers in mirror.requests]
        assert len(asked) > 1
        assert set(asked) == {""}
        assert any("Authorization" in headers for _, path, headers in right.requests)


def test_mirrors_of_containerd_are_used(tmp_path: Path) -> None:
    layer = os.urandom(1 << 20)
    with (
        FaultyRegistry(layer) as blobs,
        FaultyRegistry(layer, drop=99) as tags,
        FaultyRegistry(layer) as server,
    ):
        folder = tmp_path / "hosts/r.example_5000_"
        folder.mkdir(parents=True)
        (folder / "hosts.toml").write_text(
            f'server = "http://{server.address}"\n'
            f'[host."http://{blobs.address}"]\ncapabilities = ["pull"]\n'
            f'[host."http://{tags.address}/some/prefix"]\noverride_path = true\n'
            f'[host."http://{tags.address}/some/prefix".header]\nx-who = ["me", "too"]\n'
        )
        conf = tmp_path / "registries.conf"
        conf.write_text("")
        options = RegistryOptions(registries_conf=str(conf), hosts_dir=f"{tmp_path}/hosts", first_wait=0.001)
        store = str(tmp_path / "store")
        pulled = pull("r.example:5000/app:1", store=store, registry=options)
        assert pulled.name == "r.example:5000/app:1"
        assert blobs.requests == [], "a host without resolve is not asked what a tag means"
        path, headers = next((path, headers) for _, path, headers in tags.requests if "/manifests/" in path)
        assert path == "/some/prefix/app/manifests/1?ns=r.example%3A5000"
        assert headers["x-who"] == "me, too"
        resumed = [path for _, path, headers in server.requests if "Range" in headers]
        assert len(resumed) == 1
        assert resumed[0].startswith("/v2/app/blobs/"), "the server is told no namespace"
        pull(f"r.example:5000/app@{pulled.root.digest}", name="again", store=store, registry=options)
        assert len(blobs.requests) > 0
        conf.write_text(
            f'[[registry]]\nlocation = "r.example:5000"\n[[registry.mirror]]\nlocation = "{blobs.address}"\n'
        )
        before = len(tags.requests)
        pull("r.example:5000/app:1", store=store, registry=options)
        assert len(tags.requests) == before, "registries.conf comes first"


@pytest.mark.parametrize(
    ("text", "what"),
    [("nonsense", "not valid TOML"), ('[host."ftp://x"]', "is no URL"), ("host = 1", "is no table"),
     ('[host."https://x"]\nclient = [["a", "b", "c"]]', "is no certificate"),
     ('[host]\n"https://x" = 1', "is no table")],
)  # fmt: skip
def test_a_hosts_file_that_is_wrong_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default/hosts.toml").write_text(text)
    with pytest.raises(RegistryError, match=what) as caught:
        hosts_endpoints(parse_registry_reference("any.example/app"), str(tmp_path))
    assert caught.value.where.endswith("_default/hosts.toml")


def test_wrong_bytes_of_an_earlier_pull_are_fetched_anew(tmp_path: Path) -> None:
    layer = os.urandom(3 << 20)
    options = RegistryOptions(first_wait=0.001)
    store = str(tmp_path / "store")
    with FaultyRegistry(layer, wrong_bytes=99, drop=99) as registry:
        with pytest.raises(RegistryError):
            pull(f"{registry.address}/app:1", store=store, registry=options)
        registry.faults.clear()
        pull(f"{registry.address}/app:1", store=store, registry=options)
    with Store.open(store) as opened:
        assert check_store(opened).faults == ()


def test_a_config_is_read_from_a_mirror_only_if_it_is_right(tmp_path: Path) -> None:
    with FaultyRegistry(b"layer") as wrong, FaultyRegistry(b"layer") as right:
        wrong.blobs = {digest: bytes(len(data)) for digest, data in wrong.blobs.items()}
        text = f'[[registry]]\nprefix = "r.example"\nlocation = "{right.address}"\n'
        read(tmp_path, text + f'[[registry.mirror]]\nlocation = "{wrong.address}"\n')
        options = RegistryOptions(registries_conf=f"{tmp_path}/registries.conf", first_wait=0.001)
        assert inspect_image("docker://r.example/app:1", registry=options).config["os"] == "linux"


def test_a_mirror_that_cannot_tell_referrers_is_left(tmp_path: Path) -> None:
    with FaultyRegistry(b"layer", no_referrers=99) as mirror, FaultyRegistry(b"layer") as right:
        text = f'[[registry]]\nprefix = "r.example"\nlocation = "{right.address}"\n'
        read(tmp_path, text + f'[[registry.mirror]]\nlocation = "{mirror.address}"\n')
        options = RegistryOptions(registries_conf=f"{tmp_path}/registries.conf", first_wait=0.001)
        copy(
            "docker://r.example/app:1",
            f"oci:{tmp_path}/layout:a",
            CopyOptions(referrers=True),
            registry=options,
        )
        assert any("/referrers/" in path for _, path, _ in mirror.requests)
        assert [
            path.partition("?")[0].rpartition("/")[2]
            for _, path, _ in right.requests
            if "/referrers/" in path
        ] == [right.digest(right.manifest)]
