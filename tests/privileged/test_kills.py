"""SIGKILL at any moment: the store verifies, nothing half-made has a final name, and the next call cleans."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.mounting import is_mounted
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import Layer, file, make_layout, tar

pytestmark = pytest.mark.privileged
REPOSITORY = Path(__file__).parents[2]
MOMENTS = 50
MANY = tar(*[file(b"d%d/f%d" % (number % 40, number), b"%d" % number * 50) for number in range(2000)])


class Machine:
    """A store, prepared images and bundles, and the calls that are killed in turn."""

    def __init__(self, path: Path, form: str) -> None:
        self.path = path
        self.form = form
        self.bundle = path / "bundle"
        self.source = make_layout(
            str(path / "source"), Layer(MANY, "gzip"), Layer(tar(file(b"top", os.urandom(1 << 20))))
        )

    def calls(self) -> list[list[str]]:
        """A day of an image, from its arrival to its end."""
        store = str(self.path / "store")
        snapshots = ["--snapshots", str(self.path / "snapshots")]
        unpack = ["unpack", "-q", "--platform", "linux/amd64", "--snapshot", self.form, *snapshots]
        mounting = [["unmount", "-q", str(self.bundle)], ["mount", "-q", str(self.bundle)]]
        return [
            ["copy", "-q", f"oci:{self.source}:latest", f"oci:{store}:image"],
            [*unpack, "--image", f"{store}:image", str(self.bundle)],
            *(mounting if self.form != "none" else []),
            ["remove", "-q", "--store", store, "image"],
            ["gc", "-q", "--store", store],
            *([["unmount", "-q", "--remove", str(self.bundle)]] if self.form != "none" else []),
            ["snapshots", "-q", *snapshots, "gc"],
        ]

    def sound(self) -> None:
        """What must hold after any kill."""
        if (self.path / "store/oci-layout").exists():
            with Store.open(str(self.path / "store")) as store:
                assert check_store(store).faults == ()
        if self.bundle.exists() and not is_mounted(str(self.bundle / "rootfs")):
            # A plain one is whole; a mounted one is whole, unmounted, or about to be removed.
            names = set(os.listdir(self.bundle))
            if self.form == "none":
                assert len(os.listdir(self.bundle / "rootfs")) == 41
            else:
                assert names <= {"rootfs", "upper", "work", "config.json", "oci-image.json"}

    def clear(self) -> None:
        """Take away what is left, as a user would."""
        if is_mounted(str(self.bundle / "rootfs")):
            subprocess.run(["umount", str(self.bundle / "rootfs")], check=True)
        if self.bundle.exists():
            subprocess.run(["rm", "-r", str(self.bundle)], check=True)


@pytest.fixture(params=["none", "directory", "erofs"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """On an ext4 of its own: a tree is synced with all of its file system, and EROFS cannot stand on tmpfs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with open(tmp_path / "ext4", "wb") as output:
        output.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(tmp_path / "ext4")], check=True)
    subprocess.run(["mount", "-o", "loop", str(tmp_path / "ext4"), str(disk)], check=True)
    made = Machine(disk, request.param)
    yield made
    made.clear()
    if (disk / "snapshots").exists():
        with SnapshotCache(str(disk / "snapshots"), exclusive=True) as cache:
            cache.collect_garbage()
    subprocess.run(["umount", "-l", str(disk)], check=True)


def run(words: list[str], kill_after: float | None) -> tuple[int, str]:
    """A call in a process group of its own; killed, workers and all, after so many seconds."""
    command = [sys.executable, "-m", "oci_image", *words]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, said = process.communicate(timeout=kill_after or 60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)  # workers end with it by themselves
            process.wait(20)
            said = ""
    return process.returncode, said


def test_a_kill_at_any_moment_leaves_what_the_next_call_can_use(machine: Machine) -> None:
    chance = random.Random(machine.form)
    lengths: list[float] = []
    for words in machine.calls():
        begin = time.monotonic()
        code, said = run(words, None)
        if "cannot mount the image as erofs" in said:
            pytest.skip("the kernel has no EROFS on files of this file system")
        assert code == 0, said
        lengths.append(time.monotonic() - begin)
        machine.sound()
    killed = 0
    while killed < MOMENTS // 3:
        for words, length in zip(machine.calls(), lengths, strict=True):
            code, _ = run(words, chance.uniform(0.2, 1) * length)
            killed += code == -signal.SIGKILL
            machine.sound()
            code, said = run(words, None)  # the same call again either does its work or finds it done
            if code != 0:
                assert code == 1, said
                assert any(
                    text in said for text in ("already exists", "no image", "not a bundle", "no such")
                ), said
            machine.sound()
    machine.clear()
    assert main(machine.calls()[0]) == 0
    assert main(machine.calls()[1]) == 0  # the next call cleans, whatever was left
    assert len(os.listdir(machine.bundle / "rootfs")) == 41
    assert not [name for name in os.listdir(machine.path) if "partial" in name]
    assert not [name for name in os.listdir(machine.path / "store") if name.startswith(".index")]
