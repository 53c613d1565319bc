"""Bundles and a runtime for black-box tests: everything in private directories, gone afterwards."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import program

Edit = Callable[[dict[str, Any]], None]
# For every command, such as --systemd-cgroup: the same tests with another driver.
OPTIONS = os.environ.get("PYRUNTIME_TEST_OPTIONS", "").split()
DRIVER = "systemd" if "--systemd-cgroup" in OPTIONS else "cgroupfs"
APPLETS = (
    "sh ls cat true false sleep echo id env mount grep pwd stat touch mkdir tty test kill readlink hostname head"
    " stty mknod"
)


class Runtime:
    """A runtime under test with a root directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.command = [*program("pyruntime"), *OPTIONS, "--root", str(self.root)]
        self.prefix = f"test-{os.getpid()}-{directory.name[-6:]}"
        self._count = 0

    def bundle(self, *arguments: str, edit: Edit | None = None) -> Path:
        """A bundle with busybox whose process is `arguments`; `edit` changes its config."""
        bundle = Path(tempfile.mkdtemp(dir=self.directory))
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            (bundle / "rootfs" / name).mkdir(parents=True)
        busybox = shutil.which("busybox") or "/bin/busybox"
        shutil.copy(busybox, bundle / "rootfs/bin/busybox")
        for applet in APPLETS.split():
            (bundle / "rootfs/bin" / applet).symlink_to("busybox")
        self.call("spec", "--bundle", str(bundle))
        path = bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = list(arguments)
        config["root"]["readonly"] = False
        if edit is not None:
            edit(config)
        path.write_text(json.dumps(config))
        bundle.chmod(0o755)
        return bundle

    def new_id(self) -> str:
        self._count += 1
        return f"{self.prefix}-{self._count}"

    def call(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a verb; its output goes through files, which containers may keep open.

        A `--cgroup-manager` takes the place of the driver that is in force otherwise.
        """
        command = self.command
        if "--cgroup-manager" in arguments:
            command = [word for word in command if word != "--systemd-cgroup"]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=60,
                check=False,
                **options,
            )
            out.seek(0)
            err.seek(0)
            result = subprocess.CompletedProcess(arguments, done.returncode, out.read(), err.read())
        assert not check or result.returncode == 0, f"{arguments}: {result.returncode}: {result.stderr}"
        return result

    def run(
        self, *arguments: str, edit: Edit | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        return self.call(
            "run", "--bundle", str(self.bundle(*arguments, edit=edit)), self.new_id(), check=check
        )

    def state(self, container_id: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.call("state", container_id).stdout)
        return state

    def leftovers(self) -> list[str]:
        """State directories, cgroups and mounts of this runtime's containers."""
        states = [name for name in os.listdir(self.root) if name[0] != "."] if self.root.exists() else []
        mountinfo = Path("/proc/self/mountinfo").read_text()
        points = [line.split()[4] for line in mountinfo.splitlines() if " - cgroup" in line]
        groups = [path for point in points for path in find_cgroups(point, self.prefix)]
        mounts = [line for line in mountinfo.splitlines() if str(self.directory) in line]
        return [*states, *groups, *mounts]

    def clean(self) -> None:
        if self.root.exists():
            for name in os.listdir(self.root):
                if name[0] != ".":
                    self.call("delete", "--force", name, check=False)


def cgroup_name(container_id: str) -> str:
    """The last part of the path of a container's cgroup, if the config names none."""
    return f"pyruntime-{container_id}.scope" if DRIVER == "systemd" else container_id


def require_cgroupfs() -> None:
    """Leave out a test of what is asked of the cgroupfs driver only, such as a path."""
    if DRIVER == "systemd":
        pytest.skip("the systemd driver takes no paths")


def find_cgroups(point: str, prefix: str) -> list[str]:
    found: list[str] = []
    for directory, names, _ in os.walk(point):
        # Units have something before it, and some after.
        found += [f"{directory}/{name}" for name in names if prefix in name]
    return found


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = Path(tempfile.mkdtemp(prefix="pyruntime-test-", dir=base))
    directory.chmod(0o755)
    under_test = Runtime(directory)
    try:
        yield under_test
        under_test.clean()
        assert under_test.leftovers() == []
    finally:
        under_test.clean()
        subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=True)
