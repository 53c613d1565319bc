"""Packing what has changed: unpack, change, repack and unpack again give the same tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.repack import RepackOptions, diff_bundle, repack_bundle
from oci_image.unpack import UnpackOptions, unpack_image
from tests.image_builder import device, directory, file, hard_link, make_layout, symlink, tar
from tests.privileged.compare_trees import differences

pytestmark = pytest.mark.privileged
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PLATFORM = Platform("linux", "amd64")
ROOTLESS = os.geteuid() != 0
BASE = (
    directory(b"etc"),
    file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    file(b"etc/shadow", b"secret", mode=0o600),
    directory(b"data"),
    file(b"data/a", b"a" * 5000),
    hard_link(b"data/b", b"data/a"),
    directory(b"data/deep"),
    file(b"data/deep/x", b"x"),
    directory(b"gone"),
    file(b"gone/inside", b"inside"),
    symlink(b"link", b"data"),
)


def unpack(layout: str, tag: str, bundle: Path, **options: object) -> Path:
    settings = {"platform": PLATFORM, "rootless": ROOTLESS, **options}
    unpack_image(layout, Reference(tag), str(bundle), UnpackOptions(**settings))  # type: ignore[arg-type]
    return bundle / "rootfs"


def prepare(path: Path, *entries: bytes, **options: object) -> tuple[str, Path]:
    layout = make_layout(str(path / "layout"), tar(*(entries or BASE)))
    settings = {"platform": PLATFORM, "rootless": ROOTLESS, **options}
    unpack_image(layout, Reference(), str(path / "bundle"), UnpackOptions(**settings))  # type: ignore[arg-type]
    return layout, path / "bundle" / "rootfs"


def remove_directory(path: Path) -> None:
    for inside in path.iterdir():
        inside.unlink()
    path.rmdir()


def add_things(root: Path) -> None:
    (root / "new").mkdir(mode=0o750)
    (root / "new" / ("long" * 50)).write_bytes(b"l" * 70000)
    (root / "new" / "gr\u00fcn").write_text("\u00fc")
    os.symlink("/nowhere/" + "t" * 150, root / "new" / "link")
    os.mkfifo(root / "new" / "fifo")


def change_things(root: Path) -> None:
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/bash\n")
    (root / "etc/shadow").chmod(0o640)
    os.setxattr(root / "data/deep/x", "user.colour", b"blue\n\0=")
    os.utime(root / "data/deep", ns=(1, -1_500_000_001))


def remove_things(root: Path) -> None:
    remove_directory(root / "gone")
    (root / "link").unlink()


def change_types(root: Path) -> None:
    remove_directory(root / "gone")
    os.symlink("data", root / "gone")
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link/file").write_text("f")
    (root / "etc/shadow").unlink()
    (root / "etc/shadow").mkdir()


def change_links(root: Path) -> None:
    (root / "data/b").unlink()
    (root / "data/b").write_bytes(b"a" * 5000)
    os.link(root / "etc/passwd", root / "etc/passwd-")
    os.link(root / "data/deep/x", root / "data/y")


def write_through_link(root: Path) -> None:
    with open(root / "data/b", "r+b") as opened:
        opened.write(b"B")


def make_sparse(root: Path) -> None:
    with open(root / "sparse", "wb") as opened:
        opened.truncate(5 << 20)
        opened.seek(2 << 20)
        opened.write(b"middle")
    with open(root / "hollow", "wb") as opened:
        opened.truncate(1 << 20)


@pytest.mark.parametrize(
    "change",
    [
        add_things, change_things, remove_things, change_types, change_links, write_through_link, make_sparse,
    ],
)  # fmt: skip
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_unpacking_what_was_repacked_gives_the_same_tree(
    tmp_path: Path, change: Callable[[Path], None], compression: str
) -> None:
    layout, root = prepare(tmp_path)
    change(root)
    packed = repack_bundle(layout, "new", str(tmp_path / "bundle"), RepackOptions(compression))
    assert packed.layer is not None
    again = unpack(layout, "new", tmp_path / "again")
    assert differences(str(root), str(again)) == []
    assert not diff_bundle(layout, str(tmp_path / "again"))


def test_an_unchanged_bundle_makes_no_layer(tmp_path: Path) -> None:
    layout, _ = prepare(tmp_path)
    packed = repack_bundle(layout, "same", str(tmp_path / "bundle"))
    assert packed.layer is None
    assert not packed.changes


def test_changed_content_is_seen_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    layout, root = prepare(tmp_path)
    target = root / "data/deep/x"
    before = target.stat()
    target.write_bytes(b"y")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    changes = diff_bundle(layout, str(tmp_path / "bundle"))
    assert "/data/deep/x" in changes.changed
    assert not changes.added
    assert not changes.removed


def test_the_same_changes_make_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        layout, root = prepare(tmp_path / name)
        add_things(root)
        remove_things(root)
        digests.append(repack_bundle(layout, "new", str(tmp_path / name / "bundle")).manifest.digest)
    assert digests[0] == digests[1]


def test_a_refreshed_bundle_can_be_packed_again_and_again(tmp_path: Path) -> None:
    layout, root = prepare(tmp_path)
    bundle = str(tmp_path / "bundle")
    for number in range(3):
        (root / f"file{number}").write_text("x")
        packed = repack_bundle(layout, "new", bundle, RepackOptions(refresh=True))
        assert packed.changes.added == (f"/file{number}",)
    assert differences(str(root), str(unpack(layout, "new", tmp_path / "again"))) == []


def test_masked_paths_and_volumes_are_left_alone(tmp_path: Path) -> None:
    layout, root = prepare(tmp_path)
    (root / "data/new").write_text("x")
    (root / "data").chmod(0o700)
    (root / "database").write_text("x")
    changes = diff_bundle(layout, str(tmp_path / "bundle"), RepackOptions(mask_paths=("/data",)))
    assert changes.added == ("/database",)
    assert changes.changed == ("/",)


def test_a_name_that_means_a_whiteout_is_refused(tmp_path: Path) -> None:
    layout, root = prepare(tmp_path)
    (root / "etc/.wh.passwd").write_text("")
    before = sorted(os.listdir(tmp_path / "layout/blobs/sha256"))
    with pytest.raises(ImageError, match=r"etc/\.wh\.passwd"):
        repack_bundle(layout, "new", str(tmp_path / "bundle"))
    assert sorted(os.listdir(tmp_path / "layout/blobs/sha256")) == before


def test_links_to_outside_are_packed_as_links(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret of the host")
    layout, root = prepare(tmp_path)
    remove_directory(root / "gone")
    os.symlink(tmp_path, root / "gone")
    packed = repack_bundle(layout, "new", str(tmp_path / "bundle"), RepackOptions("none"))
    assert packed.layer is not None
    blob = tmp_path / "layout/blobs/sha256" / packed.layer.digest.encoded
    assert b"secret of the host" not in blob.read_bytes()


@needs_root
def test_devices_and_owners_come_back(tmp_path: Path) -> None:
    layout, root = prepare(tmp_path)
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    os.chown(root / "null", 3_000_000, 4_000_000)
    os.chown(root / "etc/passwd", 1000, 1001)
    repack_bundle(layout, "new", str(tmp_path / "bundle"))
    assert differences(str(root), str(unpack(layout, "new", tmp_path / "again"))) == []


def test_without_root_devices_and_owners_of_the_image_stay_as_they_were(tmp_path: Path) -> None:
    layout, root = prepare(
        tmp_path, *BASE, device(b"null", 1, 3), file(b"owned", b"x", uid=7, gid=9), rootless=True
    )
    assert not diff_bundle(layout, str(tmp_path / "bundle"))
    (root / "owned").write_bytes(b"y")
    packed = repack_bundle(layout, "new", str(tmp_path / "bundle"))
    assert packed.changes.changed == ("/owned",)
    again = unpack(layout, "new", tmp_path / "again", rootless=True)
    assert differences(str(root), str(again)) == []


@needs_root
@pytest.mark.parametrize("form", ["auto", "directory"])
def test_the_upper_directory_of_a_mounted_bundle_is_packed(tmp_path: Path, form: str) -> None:
    bundle = tmp_path / "bundle"
    try:
        layout, root = prepare(tmp_path, snapshot=form, snapshots=str(tmp_path / "snapshots"))
        change_things(root)
        remove_directory(root / "gone")
        add_things(root)
        repack_bundle(layout, "new", str(bundle))
        again = unpack(layout, "new", tmp_path / "again")
        assert differences(str(root), str(again)) == []
    finally:
        main(["unmount", "--force", "--remove", "-q", str(bundle)])
        main(["snapshots", "-q", "--snapshots", str(tmp_path / "snapshots"), "gc"])


@needs_root
def test_a_mounted_bundle_is_compared_without_its_layers(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    try:
        layout, root = prepare(tmp_path, snapshot="directory", snapshots=str(tmp_path / "snapshots"))
        for blob in (tmp_path / "layout/blobs/sha256").iterdir():
            if blob.read_bytes()[:2] == b"\x1f\x8b":
                blob.unlink()
        before = (root / "etc/shadow").stat()
        (root / "etc/shadow").write_text("secret")  # brought up, and the same again
        os.utime(root / "etc/shadow", ns=(before.st_atime_ns, before.st_mtime_ns))
        (root / "etc/new").write_text("x")
        (root / "data/a").unlink()
        changes = diff_bundle(layout, str(bundle), RepackOptions(mask_paths=("/data",)))
        assert (changes.added, changes.changed, changes.removed) == (("/etc/new",), ("/etc",), ())
        packed = repack_bundle(layout, "new", str(bundle), RepackOptions(refresh=True))
        assert packed.changes.removed == ("/data/a",)
        # The bundle is one of the new image now, and the tree below is not that image's.
        with pytest.raises(ImageError, match="cannot open blobs"):
            diff_bundle(layout, str(bundle))
    finally:
        main(["unmount", "--force", "--remove", "-q", str(bundle)])
        main(["snapshots", "-q", "--snapshots", str(tmp_path / "snapshots"), "gc"])


@needs_root
def test_umoci_unpacks_what_was_repacked_to_the_same_tree(tmp_path: Path) -> None:
    if not shutil.which("umoci"):
        pytest.fail("umoci is not installed: see scripts/host-packages")
    layout, root = prepare(tmp_path)
    add_things(root)
    change_things(root)
    change_types(root)
    repack_bundle(layout, "new", str(tmp_path / "bundle"))
    command = ["umoci", "unpack", "--image", f"{layout}:new", str(tmp_path / "umoci")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = differences(str(root), str(tmp_path / "umoci" / "rootfs"))
    assert [line for line in found if "mtime" not in line] == []


def test_the_verb_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, root = prepare(tmp_path)
    (root / "new").write_text("x")
    assert main(["repack", "--json", "--image", f"{layout}:new", str(tmp_path / "bundle")]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["added"] == ["/new"]
    assert value["tag"] == "new"
