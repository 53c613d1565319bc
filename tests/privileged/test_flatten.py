"""Squash, export, import and insert: the trees they make are the ones that were asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import file, make_layout, tar
from tests.privileged.compare_trees import differences
from tests.privileged.test_repack import BASE, unpack

pytestmark = pytest.mark.privileged


@pytest.fixture
def layout(tmp_path: Path) -> str:
    second = tar(file(b".wh.gone"), file(b"data/deep/x", b"newer"), file(b"data/.wh.b"))
    path = make_layout(str(tmp_path / "layout"), tar(*BASE), second)
    assert main(["config", "-q", "--no-history", "--image", path, "--tag", "base", "--config.user", "0"]) == 0
    return path


def test_a_squashed_image_has_the_same_tree_in_one_layer(tmp_path: Path, layout: str) -> None:
    assert main(["squash", "-q", "--image", f"{layout}:base", "--tag", "flat"]) == 0
    before = unpack(layout, "base", tmp_path / "before")
    after = unpack(layout, "flat", tmp_path / "after")
    assert differences(str(before), str(after)) == []
    with Store(layout) as store:
        assert not check_store(store).faults


def test_export_and_import_keep_the_tree(tmp_path: Path, layout: str) -> None:
    archive = str(tmp_path / "tree.tar")
    assert main(["export", "-q", "--image", f"{layout}:base", "-o", archive]) == 0
    listed = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, text=True, timeout=60)
    assert "data/deep/x" in listed.stdout.split()
    assert main(["import", "-q", "--compress", "zstd", "--image", f"{layout}:back", archive]) == 0
    before = unpack(layout, "base", tmp_path / "before")
    after = unpack(layout, "back", tmp_path / "after")
    assert differences(str(before), str(after)) == []


@pytest.mark.parametrize("entry", [file(b"../outside", b"x"), file(b"etc/.wh.passwd"), b"garbage" * 200])
def test_a_bad_archive_is_not_imported(tmp_path: Path, layout: str, entry: bytes) -> None:
    (tmp_path / "bad.tar").write_bytes(tar(entry))
    before = (tmp_path / "layout/index.json").read_bytes()
    assert main(["import", "--image", f"{layout}:bad", str(tmp_path / "bad.tar")]) == 1
    assert (tmp_path / "layout/index.json").read_bytes() == before


def test_inserted_files_are_merged_or_replace_what_was_there(tmp_path: Path, layout: str) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/one").write_text("1")
    os.link(source / "sub/one", source / "two")
    os.symlink("/etc/passwd", source / "link")
    insert = ["insert", "-q", "--rootless", "--image", f"{layout}:base", "--tag"]
    assert main([*insert, "merged", str(source), "/data"]) == 0
    assert main([*insert, "opaque", "--opaque", str(source), "/data"]) == 0
    assert main([*insert, "file", str(source / "link"), "/etc/link"]) == 0
    assert main([*insert, "without", "--whiteout", "/data/deep"]) == 0
    merged = unpack(layout, "merged", tmp_path / "merged") / "data"
    assert sorted(os.listdir(merged)) == ["a", "deep", "link", "sub", "two"]
    assert (merged / "two").samefile(merged / "sub/one")
    opaque = unpack(layout, "opaque", tmp_path / "opaque") / "data"
    assert sorted(os.listdir(opaque)) == ["link", "sub", "two"]
    linked = unpack(layout, "file", tmp_path / "file") / "etc/link"
    assert os.readlink(linked) == "/etc/passwd"
    assert sorted(os.listdir(unpack(layout, "without", tmp_path / "without") / "data")) == ["a"]


@pytest.mark.parametrize("path", ["/../x", "/a/.wh.b"])
def test_names_that_no_image_can_have_are_refused(tmp_path: Path, layout: str, path: str) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["insert", "--image", f"{layout}:base", str(tmp_path / "file"), path]) == 1
