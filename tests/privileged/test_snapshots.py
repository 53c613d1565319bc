"""Prepared images: mounted trees equal unpacked ones, bundles are private, and nothing survives its use."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.errors import SnapshotError
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.mounting import is_mounted
from oci_image.snapshots.overlay import mount_bundle, remove_bundle, unmount_bundle
from oci_image.unpack import UnpackedBundle, UnpackOptions, unpack_image
from tests.conftest import mounts_below
from tests.engines.images import busybox_layer
from tests.image_builder import (
    NET_RAW,
    Layer,
    base256,
    device,
    directory,
    file,
    hard_link,
    header,
    make_layout,
    pax,
    symlink,
    tar,
)
from tests.privileged.compare_trees import differences

pytestmark = pytest.mark.privileged
REPOSITORY = Path(__file__).parents[2]
LOWER = tar(
    directory(b"./", mode=0o751, uid=3, gid=4, mtime=5),
    file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n", uid=1, gid=2**32 - 2, mode=0o4755, mtime=6),
    pax({b"mtime": b"1700000000.123456789"}),
    file(b"big", os.urandom(1 << 20)),
    file(b"old", b"x", fields={(136, 148): base256(-86400, 12)}),
    file(b"empty"),
    hard_link(b"etc/other", b"etc/passwd"),
    symlink(b"short", b"etc/passwd", uid=9),
    header(b"with-a-mode", kind=b"2", mode=0o640, link=b"etc/passwd"),
    pax({b"linkpath": b"l" * 3000}) + symlink(b"long", b"l"),
    device(b"null", 1, 3, mode=0o666),
    device(b"disk", 259, 70000, kind=b"4"),
    header(b"fifo", kind=b"6", mode=0o622),
    pax({b"SCHILY.xattr.user.x": b"1\0", b"SCHILY.xattr.security.capability": NET_RAW}),
    file(b"capable", b"x"),
    *[file(b"many/%d-%s" % (n, b"n" * (n % 200)), b"%d" % n) for n in range(500)],
    *[symlink(b"links/%d" % n, b"t" * n) for n in range(1, 300)],
    file(b"gone/f"),
    file(b"opaque/f"),
)
UPPER = tar(
    file(b".wh.gone"), file(b"opaque/.wh..wh..opq"), file(b"opaque/g"), file(b"etc/new", b"n"),
    directory(b"many", mode=0o1777, mtime=9),
)  # fmt: skip


class Host:
    """A directory with a layout, a cache, and the bundles that a test makes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = path / "cache"

    def layout(self, *layers: bytes | Layer, name: str = "layout") -> str:
        return make_layout(str(self.path / name), *layers)

    def unpack(self, layout: str, bundle: str, form: str) -> UnpackedBundle:
        options = UnpackOptions(platform=Platform("linux", "amd64"), snapshot=form, snapshots=str(self.cache))
        try:
            return unpack_image(layout, Reference(), str(self.path / bundle), options)
        except SnapshotError as error:
            if form == "erofs" and re.search(r"no such device|block device|invalid arg", error.what):
                pytest.skip("the kernel has no EROFS on files of this file system")
            raise

    def images(self) -> list[dict[str, object]]:
        with SnapshotCache(str(self.cache)) as cache:
            return cache.images()

    def collect(self) -> list[str]:
        with SnapshotCache(str(self.cache), exclusive=True) as cache:
            return cache.collect_garbage()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [path for path in mounted if path.startswith(f"{tmp_path}/")]
    for path in reversed(left):
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("form", ["erofs", "directory"])
def test_a_mounted_tree_is_the_unpacked_one(host: Host, form: str) -> None:
    layout = host.layout(LOWER, UPPER)
    host.unpack(layout, "plain", "none")
    host.unpack(layout, "mounted", form)
    assert is_mounted(str(host.path / "mounted/rootfs"))
    assert differences(str(host.path / "plain/rootfs"), str(host.path / "mounted/rootfs")) == []
    assert [image["form"] for image in host.images()] == [form]


def test_bundles_share_the_image_and_keep_their_changes_to_themselves(host: Host) -> None:
    layout = host.layout(LOWER, UPPER)
    for name in ("one", "two"):
        host.unpack(layout, name, "auto")
    one, two = host.path / "one/rootfs", host.path / "two/rootfs"
    (one / "big").write_bytes(b"changed")
    (one / "etc/passwd").unlink()
    assert (two / "big").stat().st_size == 1 << 20
    assert (two / "etc/passwd").exists()
    assert unmount_bundle(str(host.path / "one"))
    assert not unmount_bundle(str(host.path / "one"))
    assert os.listdir(one) == []
    assert mount_bundle(str(host.path / "one"))
    assert not mount_bundle(str(host.path / "one"))
    assert (one / "big").read_bytes() == b"changed"
    [image] = host.images()
    assert image["bundles"] == [str(host.path / "one"), str(host.path / "two")]


def test_garbage_is_what_no_bundle_uses(host: Host) -> None:
    first = host.layout(LOWER, UPPER, name="first")
    second = host.layout(LOWER, tar(file(b"other")), name="second")
    host.unpack(first, "one", "auto")
    host.unpack(second, "two", "auto")
    assert host.collect() == []
    for name in ("one", "two"):
        unmount_bundle(str(host.path / name))
    assert host.collect() == []  # unmounted bundles are still bundles
    remove_bundle(str(host.path / "one"))
    assert len(host.collect()) == 1
    mount_bundle(str(host.path / "two"))
    assert (host.path / "two/rootfs/other").exists()
    unmount_bundle(str(host.path / "two"))
    remove_bundle(str(host.path / "two"))
    assert len(host.collect()) == 1
    assert [sorted(os.listdir(host.cache / name)) for name in ("images", "layers", "bundles")] == [[], [], []]


@pytest.mark.parametrize("form", ["directory", "erofs"])
def test_the_image_of_a_bundle_that_was_moved_is_kept_while_it_is_mounted(host: Host, form: str) -> None:
    host.unpack(host.layout(LOWER), "one", form)
    (host.path / "one").rename(host.path / "moved")
    (host.cache / "bundles/0000.new").write_bytes(b"of a writer that died")
    assert host.collect() == []
    assert (host.path / "moved/rootfs/big").stat().st_size == 1 << 20
    unmount_bundle(str(host.path / "moved"))
    assert mount_bundle(str(host.path / "moved"))  # which is noted under its new name
    unmount_bundle(str(host.path / "moved"))
    assert host.collect() == []
    remove_bundle(str(host.path / "moved"))
    assert len(host.collect()) == 1
    assert os.listdir(host.cache / "bundles") == []


@pytest.mark.parametrize("form", ["directory", "erofs"])
def test_after_a_restart_of_the_machine_bundles_are_mounted_again(
    host: Host, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash takes all mounts, processes and locks away and leaves files, half-made ones too."""
    host.unpack(host.layout(LOWER, UPPER), "one", form)
    host.unpack(host.layout(LOWER, UPPER, name="again"), "plain", "none")
    (host.path / "one/rootfs/kept").write_text("kept")
    half = host.path / ".two.partial-0badcafe"
    half.mkdir(mode=0o700)
    for name in ("rootfs", "upper", "work"):
        (half / name).mkdir()
    half_image = host.cache / f"images/.{form}-x.partial-0badcafe"
    half_image.mkdir(mode=0o700)
    (half_image / "tree").mkdir()
    (half_image / "tree/f").write_text("half")
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(f"{host.path}/"):
            subprocess.run(["umount", line.split()[4]], check=True)
    for module in ("cache", "place", "known", "preparing"):
        monkeypatch.setattr(f"oci_image.snapshots.{module}.boot_id", lambda: "another boot")
    assert mount_bundle(str(host.path / "one"))
    assert (host.path / "one/rootfs/kept").read_text() == "kept"
    (host.path / "one/rootfs/kept").unlink()
    os.utime(host.path / "one/rootfs", ns=(5 * 10**9, 5 * 10**9))
    assert differences(str(host.path / "plain/rootfs"), str(host.path / "one/rootfs")) == []
    host.unpack(host.layout(tar(file(b"f")), name="other"), "three", form)
    host.collect()
    assert not [name for name in os.listdir(host.path) if "partial" in name]
    assert not [name for name in os.listdir(host.cache / "images") if "partial" in name]


def test_images_share_their_plain_layers(host: Host) -> None:
    host.unpack(host.layout(LOWER, UPPER, name="first"), "one", "erofs")
    inodes = {path.name: path.stat().st_ino for path in (host.cache / "layers").iterdir()}
    host.unpack(host.layout(LOWER, tar(file(b"other")), name="second"), "two", "erofs")
    after = {path.name: path.stat().st_ino for path in (host.cache / "layers").iterdir()}
    assert len(after) == 3
    assert inodes.items() <= after.items()


def test_what_another_boot_left_damaged_is_made_anew(host: Host) -> None:
    layout = host.layout(LOWER, UPPER)
    host.unpack(layout, "one", "erofs")
    unmount_bundle(str(host.path / "one"))
    [image] = (host.cache / "images").iterdir()
    subprocess.run(["umount", str(image / "mount")], check=True)
    record = json.loads((image / "record.json").read_text())
    (image / "record.json").write_text(json.dumps({**record, "boot": "another"}))
    largest = max((host.cache / "layers").iterdir(), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as layer:
        layer.seek(4000)
        layer.write(b"damage")
    host.unpack(layout, "plain", "none")
    host.unpack(layout, "two", "erofs")
    assert differences(str(host.path / "plain/rootfs"), str(host.path / "two/rootfs")) == []


def test_sparse_files_take_the_other_form(host: Host) -> None:
    sparse = pax({b"GNU.sparse.size": b"%d" % (8 << 20), b"GNU.sparse.map": b"0,3"})
    layout = host.layout(tar(sparse, file(b"f", b"abc")))
    host.unpack(layout, "one", "auto")
    assert (host.path / "one/rootfs/f").stat().st_size == 8 << 20
    assert [image["form"] for image in host.images()] == ["directory"]


def test_what_an_older_version_prepared_is_not_used(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "unpack",
        "-q",
        "--snapshot",
        "directory",
        "--snapshots",
        str(host.cache),
        "--platform",
        "linux/amd64",
    ]
    words += ["--image", host.layout(LOWER, UPPER)]
    assert main([*words, str(host.path / "one")]) == 0
    assert main([*words, str(host.path / "two")]) == 0
    assert len(host.images()) == 1
    for module in ("preparing", "known"):
        monkeypatch.setattr(f"oci_image.snapshots.{module}.TREES", "the next")
    assert main([*words, str(host.path / "three")]) == 0
    assert len(host.images()) == 2
    assert capsys.readouterr().err == ""


def test_a_known_image_is_mounted_without_being_looked_at_again(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = host.layout(LOWER, UPPER)
    words = ["unpack", "--snapshot", "auto", "--snapshots", str(host.cache), "--platform", "linux/amd64"]
    words += ["--image", layout]
    assert main([*words, str(host.path / "one")]) == 0
    first = capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr("oci_image.cli.main._run", lambda _: 99)
        assert main([*words, str(host.path / "two")]) == 0
        assert capsys.readouterr().out == first.replace("/one", "/two")
        assert main([*words, str(host.path / "two")]) == 99  # it is there already
        assert main([*words[:-2], "--image", f"{layout}:latest", str(host.path / "three")]) == 99
    assert differences(str(host.path / "one/rootfs"), str(host.path / "two/rootfs")) == []
    for document in ("config.json", "oci-image.json"):
        one, two = ((host.path / name / document).read_text() for name in ("one", "two"))
        assert one == two
    os.unlink(f"{layout}/index.json")
    make_layout(f"{host.path}/new", tar(file(b"new")))
    os.rename(f"{host.path}/new", f"{layout}-new")
    os.rename(f"{layout}", f"{layout}-old")
    os.rename(f"{layout}-new", layout)
    assert main([*words, str(host.path / "four")]) == 0  # the name means another image now
    assert os.listdir(host.path / "four/rootfs") == ["new"]
    assert [len(image["bundles"]) for image in host.images()] in ([1, 2], [2, 1])  # type: ignore[arg-type]


def _unpack_in_child(path: str, layout: str, name: str) -> None:
    Host(Path(path)).unpack(layout, name, "auto")


def test_many_at_once_prepare_one_image(host: Host) -> None:
    layout = host.layout(LOWER, UPPER)
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=_unpack_in_child, args=(str(host.path), layout, f"b{n}")) for n in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    [image] = host.images()
    assert len(image["bundles"]) == 4  # type: ignore[arg-type]
    assert os.listdir(host.cache / "images") == [image["image"]]


@pytest.mark.parametrize("form", ["none", "auto", "directory"])
def test_what_a_killed_call_leaves_the_next_one_cleans(host: Host, form: str) -> None:
    many = tar(*[file(b"d%d/f%d" % (n % 100, n), b"x" * 1000) for n in range(20_000)])
    layout = host.layout(Layer(many, "gzip"))
    command = [sys.executable, "-m", "oci_image", "unpack", "--platform", "linux/amd64"]
    command += [
        "--snapshot",
        form,
        "--snapshots",
        str(host.cache),
        "--image",
        layout,
        str(host.path / "bundle"),
    ]
    for delay in (0.15, 0.25, 0.4, 0.6):
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        if (host.path / "bundle").exists():
            break
    time.sleep(0.1)  # workers die with their parent
    if not (host.path / "bundle").exists():
        host.unpack(layout, "bundle", form)
    host.unpack(layout, "after", form)
    assert sorted(os.listdir(host.path / "bundle/rootfs")) == sorted(f"d{n}" for n in range(100))
    assert not [name for name in os.listdir(host.path) if "partial" in name]
    if form != "none":
        assert not [name for name in os.listdir(host.cache / "images") if "partial" in name]


@pytest.mark.parametrize("form", ["none", "directory", "erofs"])
def test_a_runtime_runs_the_bundle_and_never_mounts_it(
    host: Host, pyruntime_program: list[str], form: str
) -> None:
    """Who mounts is who unmounts: the runtime takes a directory, and leaves it as it found it."""
    words = ["sh", "-c", "echo said; echo changed > /etc/data; rm /bin/wc"]
    layout = make_layout(str(host.path / "box"), Layer(busybox_layer()), config={"Cmd": words})
    host.unpack(layout, "bundle", form)
    before = mounts_below(host.path)
    command = [
        *pyruntime_program,
        "--root",
        str(host.path / "state"),
        "run",
        "--bundle",
        str(host.path / "bundle"),
        f"box-{os.getpid()}",  # as no other process of the tests calls its own
    ]
    with open(host.path / "out", "w+b") as out, open(host.path / "err", "w+b") as err:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False, timeout=60
        )
    assert (done.returncode, (host.path / "err").read_text()) == (0, "")
    assert (host.path / "out").read_text() == "said\n"
    assert mounts_below(host.path) == before
    root = host.path / "bundle/rootfs"
    assert (root / "etc/data").read_text() == "changed\n"
    assert not (root / "bin/wc").is_symlink()
    if form != "none":
        assert unmount_bundle(str(host.path / "bundle"))
        assert os.listdir(root) == []
        host.unpack(layout, "second", form)
        assert (host.path / "second/rootfs/etc/data").read_text() == "data\n"
        assert mount_bundle(str(host.path / "bundle"))
        assert (root / "etc/data").read_text() == "changed\n"
