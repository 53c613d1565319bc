"""Random trees, changed at random: what was packed unpacks to the tree that was packed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci_image.layers.removal import remove_tree
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.pack.image import History, load_draft
from oci_image.pack.overlay_changes import OverlayChanges
from oci_image.repack import RepackOptions, diff_bundle, repack_bundle
from oci_image.snapshots.overlay import remove_bundle, unmount_bundle
from oci_image.store.check import check_store
from oci_image.store.content import Store
from oci_image.unpack import UnpackOptions, unpack_image
from tests.image_builder import make_layout, tar
from tests.privileged.compare_trees import differences

pytestmark = pytest.mark.privileged
PLATFORM = Platform("linux", "amd64")
NAMES = st.sampled_from(["a", "b", "a", "b", "\u00e9", "l" * 120])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SECONDS = 1_000_000_000
TIMES = st.sampled_from(
    [0, 1, -5 * SECONDS - 1, 1_700_000_000 * SECONDS, 5_000_000_000 * SECONDS + 123_456_789]
)
# No link leads out of the tree, as the changes themselves go through links.
CHANGES = st.one_of(
    st.tuples(st.just("file"), PATHS, st.sampled_from([0, 1, 600, 70_000])),
    st.tuples(st.just("holes"), PATHS, st.integers(0, 3)),
    st.tuples(st.just("directory"), PATHS, st.none()),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "b", "/nowhere/" + "t" * 150])),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("fifo"), PATHS, st.none()),
    st.tuples(st.just("device"), PATHS, st.sampled_from([(0o20000, 1, 3), (0o60000, 7, 300)])),
    st.tuples(st.just("mode"), PATHS, st.sampled_from([0, 0o644, 0o4755, 0o1777, 0o2750])),
    st.tuples(st.just("owner"), PATHS, st.sampled_from([(0, 0), (1000, 1001), (3_000_000, 4_294_967_294)])),
    st.tuples(st.just("attribute"), PATHS, st.binary(max_size=30)),
    st.tuples(st.just("time"), PATHS, TIMES),
    st.tuples(st.just("remove"), PATHS, st.none()),
    st.tuples(st.just("replace"), PATHS, st.none()),
    st.tuples(st.just("rename"), PATHS, PATHS),
)
Change = tuple[str, str, Any]


# What is there before the first change, so that most changes find something.
POPULATION: list[Change] = [
    *(("directory", name, None) for name in ("a/a/a", "a/b/b", "b/a")),
    *(("file", f"{name}/{file}", 10) for name in ("a", "a/a", "a/b", "b", "b/a") for file in "xyb"),
    ("link", "b/linked", "a/x"),
    ("symlink", "a/l", "a"),
]


def apply(root: Path, changes: list[Change]) -> None:
    """Carry the changes out; those that cannot be are passed over."""
    for kind, name, value in changes:
        path = root / name
        with contextlib.suppress(OSError):
            CHANGERS[kind](root, path, value)


def write_file(_root: Path, path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.is_file():
        path.write_bytes(os.fsencode(path.name)[:1] * size)


def write_holes(_root: Path, path: Path, number: int) -> None:
    if path.exists():
        return
    with path.open("xb") as file:
        for position in range(number):
            file.seek((position << 20) + 5000)
            file.write(b"data")
        file.truncate(3 << 20)


def remove(root: Path, path: Path, _: object) -> None:
    if path.is_dir() and not path.is_symlink():
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            remove_tree(fd, os.fsencode(path.name), device=os.fstat(fd).st_dev)
        finally:
            os.close(fd)
    elif path != root:
        path.unlink()


def replace(root: Path, path: Path, _: object) -> None:
    remove(root, path, None)
    path.mkdir()


CHANGERS: dict[str, Any] = {
    "file": write_file,
    "holes": write_holes,
    "directory": lambda _root, path, _: path.mkdir(parents=True),
    "symlink": lambda _root, path, target: path.symlink_to(target),
    "link": lambda root, path, other: os.link(root / other, path, follow_symlinks=False),
    "fifo": lambda _root, path, _: os.mkfifo(path),
    "device": lambda _root, path, value: os.mknod(path, value[0] | 0o640, os.makedev(*value[1:])),
    "mode": lambda _root, path, mode: path.is_symlink() or path.chmod(mode),
    "owner": lambda _root, path, owner: os.chown(path, *owner, follow_symlinks=False),
    "attribute": lambda _root, path, value: os.setxattr(path, "user.test", value),
    "time": lambda _root, path, value: os.utime(path, ns=(value, value), follow_symlinks=False),
    "remove": remove,
    "replace": replace,
    "rename": lambda root, path, other: path.rename(root / other),
}  # fmt: skip


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="repack-"))
    yield made
    assert list(made.iterdir()) == []
    made.rmdir()


@contextlib.contextmanager
def bundle_of(layout: str, tag: str, path: Path, **options: Any) -> Iterator[Path]:
    """An unpacked image; its root.  Mounted ones are unmounted at the end."""
    unpack_image(layout, Reference(tag), str(path), UnpackOptions(platform=PLATFORM, **options))
    try:
        yield path / "rootfs"
    finally:
        if options:
            unmount_bundle(str(path), force=True)
            remove_bundle(str(path))


def check_round_trip(work: Path, first: list[Change], second: list[Change], **options: Any) -> None:
    layout = make_layout(str(work / "layout"), tar())
    with bundle_of(layout, "latest", work / "first") as root:
        apply(root, POPULATION + first)
        repack_bundle(layout, "first", str(work / "first"))
    with bundle_of(layout, "first", work / "second", **options) as root:
        assert differences(str(work / "first/rootfs"), str(root)) == []
        apply(root, second)
        repack_bundle(layout, "second", str(work / "second"), RepackOptions("zstd", level=1))
        with bundle_of(layout, "second", work / "third") as again:
            assert differences(str(root), str(again)) == []
        assert not diff_bundle(layout, str(work / "third"))
    with Store(layout) as store:
        assert not check_store(store).faults


@given(first=st.lists(CHANGES, max_size=12), second=st.lists(CHANGES, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plain_bundle_comes_back(directory: Path, first: list[Change], second: list[Change]) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as work:
        check_round_trip(Path(work), first, second)


@given(first=st.lists(CHANGES, max_size=12), second=st.lists(CHANGES, max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_mounted_bundle_comes_back(directory: Path, first: list[Change], second: list[Change]) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as work:
        check_round_trip(
            Path(work), first, second, snapshot="directory", snapshots=os.path.join(work, "snapshots")
        )


@given(first=st.lists(CHANGES, max_size=12), second=st.lists(CHANGES, max_size=12))
@settings(max_examples=25, deadline=None)
def test_the_changes_of_an_overlay_are_the_layer(
    directory: Path, first: list[Change], second: list[Change]
) -> None:
    """What a step of a build does: the upper directory alone says what the layer has."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        work = Path(name)
        layout = make_layout(str(work / "layout"), tar())
        with bundle_of(layout, "latest", work / "first") as root:
            apply(root, POPULATION + first)
            repack_bundle(layout, "first", str(work / "first"))
        options = {"snapshot": "directory", "snapshots": str(work / "snapshots")}
        with bundle_of(layout, "first", work / "second", **options) as root:
            apply(root, second)
            with Store(layout) as store, store.adding():
                draft = load_draft(store, store.entry_of(Reference("first")))
                upper, below = str(work / "second/upper"), str(work / "first/rootfs")
                with OverlayChanges(upper, below) as changes:
                    layer, diff_id = changes.write(store, "none", 0, None, docker=False)
                draft.add_layer(layer, diff_id, History())
                store.tag(draft.store(store), "second")
            with bundle_of(layout, "second", work / "third") as again:
                found = differences(str(root), str(again))
                assert [each for each in found if each[:2] != (".", "mtime_ns")] == []
