"""Unpacking where the disk fails in the middle, at any call: refused whole, and the next try succeeds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.overlay import unmount_bundle
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import Layer, directory, file, hard_link, make_layout, symlink, tar

pytestmark = pytest.mark.privileged
REPOSITORY = Path(__file__).parents[2]
CONTENT = tar(
    directory(b"d"), *[file(b"d/f%d" % number, os.urandom(3000)) for number in range(40)], symlink(b"l", b"d"),
    hard_link(b"h", b"d/f1"), file(b"big", os.urandom(3 << 20)),
)  # fmt: skip
FORMS = ["none", "directory", "erofs"]


class Disk:
    """A small file system of its own, on which bundles and prepared images lie."""

    def __init__(self, path: Path, image: str) -> None:
        self.path = path
        self.image = image

    def words(self, form: str, name: str = "bundle") -> list[str]:
        snapshots = ["--snapshot", form, "--snapshots", str(self.path / "snapshots")]
        return [
            "unpack",
            "-q",
            "--platform",
            "linux/amd64",
            *snapshots,
            "--image",
            self.image,
            str(self.path / name),
        ]

    def is_clean(self) -> None:
        """Nothing half-made has a final name, and no bundle is mounted."""
        assert not (self.path / "bundle").exists()
        for image in (self.path / "snapshots/images").glob("[!.]*"):
            assert (image / "record.json").exists()
        assert f"{self.path}/bundle" not in Path("/proc/self/mountinfo").read_text()

    def works(self, form: str) -> None:
        """The next try succeeds, with the right content, and cleans what the failed one left."""
        assert main(self.words(form, "bundle")) == 0
        root = self.path / "bundle/rootfs"
        assert sorted(os.listdir(root)) == ["big", "d", "h", "l"]
        assert len(os.listdir(root / "d")) == 40
        assert (root / "h").read_bytes() == (root / "d/f1").read_bytes()
        assert not [name for name in os.listdir(self.path) if "partial" in name]
        if form != "none":
            assert not [name for name in os.listdir(self.path / "snapshots/images") if "partial" in name]

    def close(self) -> None:
        if (self.path / "bundle/upper").exists():
            unmount_bundle(str(self.path / "bundle"))
            main(["unmount", "-q", "--remove", str(self.path / "bundle")])
        if (self.path / "snapshots").exists():
            with SnapshotCache(str(self.path / "snapshots"), exclusive=True) as cache:
                cache.collect_garbage()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A fresh ext4 of 24 megabytes in a file: EROFS cannot stand on tmpfs."""
    path = tmp_path / "disk"
    path.mkdir()
    with open(tmp_path / "ext4", "wb") as output:
        output.truncate(24 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(tmp_path / "ext4")], check=True)
    subprocess.run(["mount", "-o", "loop", str(tmp_path / "ext4"), str(path)], check=True)
    made = Disk(path, make_layout(str(tmp_path / "layout"), Layer(CONTENT, "gzip")))
    yield made
    made.close()
    subprocess.run(["umount", "-l", str(path)], check=True)


def erofs_is_here(disk: Disk) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oci_image", *disk.words("erofs")], cwd=REPOSITORY, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    if "cannot mount the image as erofs" in done.stderr:
        pytest.skip("the kernel has no EROFS on files of this file system")
    assert done.returncode == 0, done.stderr
    disk.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_refused_whole(disk: Disk, capsys: pytest.CaptureFixture[str], form: str) -> None:
    if form == "erofs":
        erofs_is_here(disk)
    for free in (200 << 10, 2 << 20, 4 << 20):
        ballast = disk.path / "ballast"
        space = os.statvfs(disk.path)
        left = space.f_bavail * space.f_frsize - free
        with open(ballast, "wb") as output:
            os.posix_fallocate(output.fileno(), 0, left)
        code = main(disk.words(form))
        said = capsys.readouterr().err
        if code == 0 and free > 2 << 20:  # a prepared image may fit where the tree and the layer do not
            disk.close()
            ballast.unlink()
            continue
        assert (code, "no space left on device" in said) == (1, True), said
        disk.is_clean()
        ballast.unlink()
    disk.works(form)


# Calls of the kernel by which files come about, and how often each is let pass before it fails.
CALLS = {
    "write": (1, 5),
    "mkdirat,mkdir": (1,),
    "linkat,link": (1,),
    "rename,renameat,renameat2": (1,),
    "mount": (1, 2),
    "pread64": (1,),
    "copy_file_range": (1,),
    "utimensat": (3,),
    "fchown": (1,),
    "ftruncate": (1,),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS)
def test_a_failing_disk_is_refused_whole(disk: Disk, form: str, call: str) -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed: see scripts/host-packages")
    if form == "erofs":
        erofs_is_here(disk)
    for number in CALLS[call]:
        command = ["strace", "-f", "-qq", "-o", "/dev/null", f"-einject={call}:error=EIO:when={number}"]
        command += [sys.executable, "-m", "oci_image", *disk.words(form)]
        done = subprocess.run(
            command, cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=60
        )
        if done.returncode == 0:  # the form has no use for that call, or not as often
            disk.close()
            for name in os.listdir(disk.path):
                if name == "bundle":
                    subprocess.run(["rm", "-r", str(disk.path / "bundle")], check=True)
            continue
        assert re.search("input/output error|Input/output error|without an answer", done.stderr), done.stderr
        disk.is_clean()
    disk.works(form)


@pytest.mark.parametrize(
    "fault", ["write:error=ENOSPC:when=2", "write:error=EIO:when=4", "fsync:error=EIO:when=1", "fsync:error=EIO:when=3",
              "rename,renameat,renameat2:error=EIO:when=1", "rename,renameat,renameat2:error=EIO:when=2"]
)  # fmt: skip
def test_a_store_on_a_failing_disk_is_as_it_was(disk: Disk, fault: str) -> None:
    copy = ["copy", "-q", f"oci:{disk.image}:latest", f"oci:{disk.path}/store:image"]
    before = make_layout(str(disk.path / "first"), tar(file(b"f")))
    assert main(["copy", "-q", f"oci:{before}:latest", f"oci:{disk.path}/store:before"]) == 0
    index = (disk.path / "store/index.json").read_bytes()
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        f"-einject={fault}",
        sys.executable,
        "-m",
        "oci_image",
        *copy,
    ]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert re.search("no space left|input/output error", done.stderr), done.stderr
    if "fsync:error=EIO:when=3" not in fault:  # which comes when the new index has its name
        assert (disk.path / "store/index.json").read_bytes() == index
    with Store.open(str(disk.path / "store")) as store:
        assert check_store(store).faults == ()
    assert main(copy) == 0
    with Store.open(str(disk.path / "store")) as store:
        assert check_store(store).faults == ()
        assert len(store.entries()) == 2
