"""Many images at once: what a list in a file means, where copies go, and what a failure does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.model.version_range import parse_version_range
from oci_image.registry.options import RegistryOptions
from oci_image.store.content import Store
from oci_image.syncing import find_images, sync
from oci_image.transfer import copy
from pyruntime.base.errors import UsageError
from tests.faulty_registry import FaultyRegistry
from tests.image_builder import file, make_layout, tar

QUICK = RegistryOptions(first_wait=0.001)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.2, <2", ["1.2.0", "1.9.9", "v1.2.3"], ["1.1.9", "2.0.0", "1.3.0-rc1", "latest"]),
        (">=1.2 <2", ["1.2.0"], ["2.0.0"]),
        ("3.12 - 3.13", ["3.12.0", "3.13.9"], ["3.11.9", "3.14.0"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.2.2", "1.3.0"]),
        ("~1", ["1.0.0", "1.9.0"], ["2.0.0"]),
        ("^1.2.3", ["1.2.3", "1.9.0"], ["1.2.2", "2.0.0"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("1.x", ["1.0.0", "1.5"], ["2.0.0", "0.9.0"]),
        ("1.2", ["1.2.0", "1.2.5"], ["1.3.0"]),
        ("*", ["0.0.1", "99.1.2"], ["1.0.0-beta", "text"]),
        ("<1 || >=3", ["0.9.0", "3.0.0"], ["1.0.0", "2.9.9"]),
        ("!=1.2.3", ["1.2.4"], ["1.2.3"]),
        (">1.2", ["1.3.0"], ["1.2.9", "1.2.0"]),
        ("<=1.2", ["1.2.9"], ["1.3.0"]),
        (">=1.0.0-beta.2", ["1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"], ["1.0.0-beta.1", "1.0.0-alpha"]),
        ("=1.0.0-rc.1", ["1.0.0-rc.1"], ["1.0.0-rc.2", "1.0.0"]),
    ],
)
def test_ranges_of_versions(text: str, inside: list[str], outside: list[str]) -> None:
    found = parse_version_range(text)
    assert [version for version in inside if not found.holds(version)] == []
    assert [version for version in outside if found.holds(version)] == []


@pytest.mark.parametrize("text", ["new", ">=", "1.2 and 3", ">1 <<2", "1.2.3.4"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="range"):
        parse_version_range(text)


def listed(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    (tmp_path / "list.yml").write_text(text)
    return [(item.source, item.name) for item in find_images("yaml", f"{tmp_path}/list.yml", QUICK)]


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_list_names_images_in_every_way(tmp_path: Path, form: str) -> None:
    import yaml

    digest = "sha256:" + "a" * 64
    with FaultyRegistry(b"layer", token=1) as registry:
        registry.tags = ["1.0.0", "1.5.0", "2.0.0", "edge"]
        document = {
            registry.address: {
                "images": {"a": ["x", digest], "b": []},
                "images-by-tag-regex": {"c": "^1[.]"},
                "images-by-semver": {"d": ">=1.5"},
                "credentials": {"username": "me", "password": "secret"},
                "tls-verify": False,
            }
        }
        text = yaml.safe_dump(document) if form == "yaml" else json.dumps(document)
        found = listed(tmp_path, text)
        names = ["a:x", f"a@{digest}", "b:1.0.0", "b:1.5.0", "b:2.0.0", "b:edge"]
        names += ["c:1.0.0", "c:1.5.0", "d:1.5.0", "d:2.0.0"]
        assert found == [(f"docker://{registry.address}/{name}", name) for name in names]


@pytest.mark.parametrize(
    "text",
    ["- a\n", "a: [\n", "h.example: {imags: {}}\n", "h.example: {images-by-tag-regex: {a: '('}}\n", "{}\n"],
)
def test_a_list_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    with FaultyRegistry(b"") as registry, pytest.raises(ImageError) as caught:
        listed(tmp_path, text.replace("h.example", registry.address))
    assert "list.yml" in caught.value.where


def test_images_go_through_every_kind_and_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultyRegistry(b"layer") as registry:
        registry.tags = ["1", "2"]
        assert (
            main(["sync", "--src", "docker", "--dest", "dir", f"{registry.address}/app", f"{tmp_path}/d"])
            == 0
        )
        assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["app:1", "app:2"]
        words = ["--src", "dir", "--dest", "oci", "--append-suffix=-x", f"{tmp_path}/d", f"{tmp_path}/o"]
        assert main(["sync", *words]) == 0
        with Store.open(f"{tmp_path}/o") as store:
            assert {entry["digest"] for entry in store.entries()} == {registry.digest(registry.manifest)}
        target = f"{registry.address}/mirror"
        assert main(["sync", "--src", "oci", "--dest", "docker", f"{tmp_path}/o", target]) == 0
        assert registry.pushed["1-x"] == registry.pushed["2-x"] == registry.manifest
        scoped = list(
            sync(find_images("docker", f"{registry.address}/app:1"), "dir", "/x", scoped=True, dry_run=True)
        )
        assert scoped[0].destination == f"dir:/x/{registry.address}/app:1"
        assert "copied docker://" in capsys.readouterr().out


def test_a_failure_ends_it_or_is_told_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    for name in ("a", "b", "c"):
        layout = make_layout(str(tmp_path / name), tar(file(name.encode())))
        copy(f"oci:{layout}", f"dir:{source}/{name}:1")
    next((source / "b:1").glob("[0-9a-f]" * 64)).unlink()
    words = ["sync", "--json", "--src", "dir", "--dest", "oci", str(source)]
    assert main([*words, f"{tmp_path}/first"]) == 1
    with Store.open(f"{tmp_path}/first") as store:
        assert len(store.entries()) == 1
    capsys.readouterr()
    assert main([*words, "--keep-going", f"{tmp_path}/second"]) == 1
    printed = capsys.readouterr()
    assert [bool(one.get("error")) for one in json.loads(printed.out)] == [False, True, False]
    assert "b:1" in printed.err


def test_a_name_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    items = find_images("dir", make_directory(tmp_path), QUICK)
    with pytest.raises(UsageError, match="outside"):
        list(sync(items, "dir", f"{tmp_path}/target", suffix="/../../../x"))


def make_directory(tmp_path: Path) -> str:
    copy(f"oci:{make_layout(str(tmp_path / 'one'), tar(file(b'a')))}", f"dir:{tmp_path}/source/a")
    return f"{tmp_path}/source"


def test_nothing_to_sync_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--src", "dir", "--dest", "dir", str(tmp_path), str(tmp_path / "x")]) == 1
    assert "no images" in capsys.readouterr().err
