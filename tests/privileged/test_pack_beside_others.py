"""What was packed here, read by umoci, skopeo and podman, and packed by umoci instead."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from oci_image.cli.main import main
from oci_image.repack import RepackOptions, repack_bundle
from tests.privileged.compare_trees import differences
from tests.privileged.test_repack import (
    add_things,
    change_links,
    change_things,
    make_sparse,
    prepare,
    remove_things,
    unpack,
)

pytestmark = pytest.mark.privileged


def call(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: scripts/host-packages test")
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def change(root: Path) -> None:
    """Everything but what umoci packs wrongly: directories that become links."""
    add_things(root)
    change_things(root)
    remove_things(root)
    change_links(root)
    make_sparse(root)


def packed(tmp_path: Path, compression: str = "gzip") -> tuple[str, Path]:
    layout, root = prepare(tmp_path)
    change(root)
    repack_bundle(layout, "new", str(tmp_path / "bundle"), RepackOptions(compression))
    return layout, root


def without_times(found: list[tuple[str, str, object, object]]) -> list[tuple[str, str, object, object]]:
    # The others keep whole seconds, and write the root's time as they make it.
    return [each for each in found if each[1] != "mtime_ns"]


def test_umoci_packs_the_same_changes_into_the_same_tree(tmp_path: Path) -> None:
    layout, root = packed(tmp_path)
    other = tmp_path / "other"
    call("umoci", "unpack", "--image", f"{layout}:latest", str(other))
    change(other / "rootfs")
    call("umoci", "repack", "--image", f"{layout}:umoci", str(other))
    theirs = unpack(layout, "umoci", tmp_path / "theirs")
    assert without_times(differences(str(root), str(theirs))) == []


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_podman_mounts_the_same_tree(tmp_path: Path, compression: str) -> None:
    layout, root = packed(tmp_path, compression)
    # It wants a short name for one of its directories.
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        places = ("--root", f"{short}/root", "--runroot", f"{short}/run", "--tmpdir", f"{short}/tmp")
        podman = ("podman", *places, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs")
        image = call(*podman, "pull", "--quiet", f"oci:{layout}:new").strip()
        try:
            tree = call(*podman, "image", "mount", image).strip()
            assert [each for each in without_times(differences(str(root), tree)) if each[0] != "."] == []
        finally:
            call(*podman, "image", "unmount", "--all")
            call(*podman, "rmi", "--all", "--force")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_skopeo_copies_and_converts_what_was_packed(tmp_path: Path, compression: str) -> None:
    layout, root = packed(tmp_path, compression)
    call("skopeo", "copy", "-q", f"oci:{layout}:new", f"oci:{tmp_path}/copied:new")
    assert differences(str(root), str(unpack(str(tmp_path / "copied"), "new", tmp_path / "again"))) == []
    shown = json.loads(call("skopeo", "inspect", f"oci:{layout}:new"))
    assert len(shown["Layers"]) == 2


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_higher_level_makes_a_smaller_blob_of_the_same_archive(tmp_path: Path, compression: str) -> None:
    layout, root = prepare(tmp_path)
    (root / "text").write_bytes(b"".join(b"%d " % number for number in range(200_000)))
    sizes, diff_ids = [], set()
    for level in (1, 9):
        made = repack_bundle(layout, "new", str(tmp_path / "bundle"), RepackOptions(compression, level=level))
        assert made.layer is not None
        sizes.append(made.layer.size)
        diff_ids.add(_config(layout, str(made.manifest.digest))["rootfs"]["diff_ids"][-1])
    assert sizes[0] > sizes[1]
    assert len(diff_ids) == 1
    assert differences(str(root), str(unpack(layout, "new", tmp_path / "again"))) == []


def _config(layout: str, digest: str) -> dict[str, Any]:
    def blob(text: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(Path(layout, "blobs", *text.split(":")).read_bytes())
        return value

    return blob(blob(digest)["config"]["digest"])


def test_the_history_says_what_it_was_told(tmp_path: Path) -> None:
    layout, root = prepare(tmp_path)
    (root / "new").write_text("x")
    options = [
        "--history.author",
        "me",
        "--history.comment",
        "why",
        "--history.created",
        "2020-01-02T03:04:05Z",
    ]
    arguments = ["repack", "--json", "--image", f"{layout}:new", *options, "--history.created_by", "by hand"]
    assert main([*arguments, str(tmp_path / "bundle")]) == 0
    entry = json.loads(Path(layout, "index.json").read_bytes())["manifests"][-1]
    assert _config(layout, entry["digest"])["history"][-1] == {
        "author": "me", "comment": "why", "created": "2020-01-02T03:04:05Z", "created_by": "by hand",
    }  # fmt: skip
    again = unpack(layout, "new", tmp_path / "again")
    (again / "other").write_text("y")
    assert main(["repack", "-q", "--image", f"{layout}:quiet", "--no-history", str(tmp_path / "again")]) == 0
    entry = json.loads(Path(layout, "index.json").read_bytes())["manifests"][-1]
    assert len(_config(layout, entry["digest"])["history"]) == 1
