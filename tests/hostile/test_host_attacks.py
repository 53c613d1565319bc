"""Attacks on the host by way of what surrounds the tree: devices, memory, mounts and open directories."""

from __future__ import annotations

import os

import pytest

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.layers.limits import Limits
from oci_image.layers.removal import remove_tree
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.snapshots.mounting import mount, unmount
from oci_image.snapshots.overlay import unmount_bundle
from oci_image.unpack import UnpackOptions, unpack_image
from tests.hostile.place import Place
from tests.image_builder import base256, device, file, header, make_layout, pax, tar

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_devices_with_numbers_that_the_kernel_lacks_are_refused(place: Place) -> None:
    for fields in (
        {(329, 337): base256(1 << 40, 8)},
        {(329, 337): base256(4096, 8)},
        {(337, 345): base256(1 << 20, 8)},
    ):
        for kind in (b"3", b"4"):
            assert "out of range" in place.refuses(tar(header(b"d", kind=kind, fields=fields)))


def test_attributes_of_many_entries_do_not_fill_the_memory(place: Place) -> None:
    attribute = pax({b"SCHILY.xattr.user.x": bytes(60_000)})
    many = [attribute + file(b"%d" % number) for number in range(40)]
    assert "extended headers of all" in place.refuses(tar(*many), limits=Limits(metadata_bytes=2 << 20))
    segments = b",".join(b"%d,0" % number for number in range(5000))
    sparse = [
        pax({b"GNU.sparse.size": b"5000", b"GNU.sparse.map": segments}) + file(b"%d" % n) for n in range(9)
    ]
    assert "extended headers of all" in place.refuses(tar(*sparse), limits=Limits(metadata_bytes=4 << 20))


@needs_root
def test_a_device_in_the_place_of_the_users_file_is_not_even_opened(place: Place) -> None:
    """Opening a device may do something: a watchdog would restart the machine."""
    # No driver has this number, so that opening it would fail with words of its own.
    for kind in (b"3", b"4"):
        layer = tar(device(b"etc/passwd", 4000, 7, kind=kind))
        assert "not a regular file" in place.refuses(layer, config={"User": "someone"})
    assert "not a regular file" in place.refuses(
        tar(header(b"etc/passwd", kind=b"6")), config={"User": "someone"}
    )


@needs_root
def test_directories_on_the_way_to_the_snapshots_are_not_open_to_all(place: Place) -> None:
    layout = make_layout(str(place.path / "layout"), tar(file(b"f")))
    options = UnpackOptions(
        platform=Platform("linux", "amd64"), snapshot="directory", snapshots=str(place.path / "a/b/c")
    )
    unpack_image(layout, Reference(), str(place.path / "bundle"), options)
    try:
        modes = [(place.path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/c", "bundle")]
        assert modes == [0o755, 0o755, 0o700, 0o700]
        for directory_path, names, files in os.walk(place.path / "a/b/c"):
            for name in (*names, *files):
                if "/tree" not in directory_path and name != "tree":
                    assert os.lstat(os.path.join(directory_path, name)).st_mode & 0o022 == 0, name
    finally:
        unmount_bundle(str(place.path / "bundle"))


@needs_root
@pytest.mark.parametrize("change", ["mode", "owner"])
def test_snapshots_that_others_can_change_are_not_used(place: Place, change: str) -> None:
    layout = make_layout(str(place.path / "layout"), tar(file(b"f")))
    cache = place.path / "snapshots"
    words = [
        "unpack",
        "-q",
        "--platform",
        "linux/amd64",
        "--snapshot",
        "directory",
        "--snapshots",
        str(cache),
    ]
    assert main([*words, "--image", layout, str(place.path / "first")]) == 0
    unmount_bundle(str(place.path / "first"))
    if change == "mode":
        cache.chmod(0o777)
    else:
        os.chown(cache, 1234, -1)
    assert main([*words, "--image", layout, str(place.path / "bundle")]) == 1
    assert not (place.path / "bundle").exists()


@needs_root
def test_removing_crosses_no_mount_not_even_one_of_the_same_file_system(place: Place) -> None:
    tree = place.path / "tree"
    (tree / "a/b").mkdir(parents=True)
    mount(str(place.victim), str(tree / "a/b"), "", 4096, "")  # MS_BIND
    parent = os.open(place.path, os.O_RDONLY)
    try:
        with pytest.raises(ImageError, match="mounted"):
            remove_tree(parent, b"tree", device=os.fstat(parent).st_dev)
    finally:
        os.close(parent)
        unmount(str(tree / "a/b"))
