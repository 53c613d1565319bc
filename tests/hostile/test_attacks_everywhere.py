"""The same attacks against every form of a root file system, and by way of every place an image comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.errors import SnapshotError
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.overlay import unmount_bundle
from oci_image.unpack import UnpackOptions, unpack_image
from pyruntime.base.errors import ExpectedError
from tests.hostile.attacks import ATTACKS, Attack, layers_of
from tests.hostile.place import Place
from tests.image_builder import Layer, file, make_layout, tar
from tests.privileged.compare_trees import differences

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])

# An import has one layer, and nobody promises its digest.
SINGLE = [a for a in ATTACKS if len(a.layers(b"/x")) == 1 and not isinstance(a.layers(b"/x")[0], Layer)]


def outcome(place: Place, layout: str, form: str) -> str:
    """Unpack; the words of the refusal, "" if there was none."""
    options = UnpackOptions(
        platform=Platform("linux", "amd64"), rootless=os.geteuid() != 0, snapshot=form,
        snapshots=str(place.path / "snapshots"),
    )  # fmt: skip
    try:
        unpack_image(layout, Reference(), str(place.path / form), options)
    except SnapshotError as error:
        if form == "erofs" and "cannot mount the image as erofs" in error.what:
            pytest.skip(f"the kernel has no EROFS on files of this file system ({error.what})")
        raise
    except ExpectedError as error:
        assert not [name for name in os.listdir(place.path) if form in name and "layout" not in name]
        return str(error)
    assert (place.path / form).stat().st_mode & 0o777 == 0o700
    return ""


@pytest.fixture
def mounting(place: Place) -> Iterator[Place]:
    """The place, whose bundles and prepared images are unmounted in the end."""
    yield place
    for form in ("erofs", "directory"):
        if (place.path / form).exists():
            unmount_bundle(str(place.path / form))
    (place.path / "snapshots").mkdir(mode=0o700, exist_ok=True)
    for note in (place.path / "snapshots/bundles").glob("*"):
        note.unlink()
    with SnapshotCache(str(place.path / "snapshots"), exclusive=True) as cache:
        cache.collect_garbage()


@every_attack
def test_a_plain_tree_is_refused_or_stays_inside(place: Place, attack: Attack) -> None:
    layout = make_layout(str(place.path / "layout"), tar(file(b"lowest")), *layers_of(attack, place.victim))
    said = outcome(place, layout, "none")
    assert attack.words in said
    assert bool(said) == bool(attack.words)
    assert not said or "layer 2 of" in said or "layer 3 of" in said


@needs_root
@pytest.mark.parametrize("form", ["directory", "erofs"])
@every_attack
def test_a_mounted_tree_is_refused_alike_or_equal(mounting: Place, attack: Attack, form: str) -> None:
    layout = make_layout(str(mounting.path / "layout"), *layers_of(attack, mounting.victim))
    assert outcome(mounting, layout, form) == outcome(mounting, layout, "none")
    if not attack.words:
        found = differences(str(mounting.path / "none/rootfs"), str(mounting.path / form / "rootfs"))
        assert found == []
    if attack.words:
        assert os.listdir(mounting.path / "snapshots/images") == []


@pytest.mark.parametrize(
    "way", ["oci:{}/new:x", "oci-archive:{}/new.tar:x", "docker-archive:{}/new.tar:x:1", "dir:{}/new"]
)
@every_attack
def test_the_way_of_an_image_changes_nothing(place: Place, attack: Attack, way: str) -> None:
    layout = make_layout(str(place.path / "layout"), *layers_of(attack, place.victim))
    there = way.format(place.path)
    assert main(["copy", "-q", f"oci:{layout}:latest", there]) == 0
    back = str(place.path / "back-layout")
    assert main(["copy", "-q", there, f"oci:{back}:latest"]) == 0
    assert attack.words in outcome(place, back, "none")


@pytest.mark.parametrize("attack", SINGLE, ids=[attack.name for attack in SINGLE])
def test_import_refuses_what_unpacking_refuses(
    place: Place, attack: Attack, capsys: pytest.CaptureFixture[str]
) -> None:
    [plain] = layers_of(attack, place.victim)
    assert isinstance(plain, bytes)
    (place.path / "attack.tar").write_bytes(plain)
    target = str(place.path / "target-layout")
    assert main(["init", "-q", "--layout", target]) == 0
    index = Path(target, "index.json").read_bytes()
    code = main(["import", "-q", "--image", f"{target}:x", str(place.path / "attack.tar")])
    said = capsys.readouterr().err
    if code == 0:  # the layer alone is in order: what it does is seen when a tree is made of it
        assert attack.words in outcome(place, target, "none")
        return
    assert code == 1
    assert attack.words in said
    assert Path(target, "index.json").read_bytes() == index
    assert not list(Path(target, "blobs/sha256").iterdir())


def test_repacking_follows_no_link_that_the_container_made(place: Place) -> None:
    layout = make_layout(str(place.path / "layout"), tar(file(b"d/f", b"x"), file(b"g", b"y")))
    assert outcome(place, layout, "none") == ""
    root = place.path / "none/rootfs"
    (root / "d/f").unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to(place.victim)
    (root / "g").unlink()
    (root / "g").symlink_to(place.victim / "file")
    assert main(["repack", "-q", "--image", f"{layout}:new", str(place.path / "none")]) == 0
    for blob in Path(layout, "blobs/sha256").iterdir():
        assert b"precious" not in blob.read_bytes()
    options = UnpackOptions(platform=Platform("linux", "amd64"), rootless=os.geteuid() != 0)
    unpack_image(layout, Reference("new"), str(place.path / "again"), options)
    assert os.readlink(place.path / "again/rootfs/d") == str(place.victim)
    assert differences(str(root), str(place.path / "again/rootfs")) == []
