"""Who may use a cgroup of v2: owners, threads, and the options of the hierarchy."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pyruntime.host.cgroups import read_cgroup_layout
from tests.privileged.containers import Runtime, require_cgroupfs, runtime

__all__ = ["runtime"]

HOST_ID = 300_000


@pytest.fixture
def hierarchy() -> Path:
    """Where cgroup v2 is mounted, with controllers or without."""
    for each in read_cgroup_layout().hierarchies:
        if each.version == 2:
            return Path(each.mount_point)
    pytest.skip("cgroup v2 is not mounted here")


@pytest.fixture
def threads(runtime: Runtime, hierarchy: Path) -> Iterator[Path]:
    """A cgroup with a threaded one in it: what else is made there cannot be a domain."""
    require_cgroupfs()
    top = hierarchy / f"{runtime.prefix}-threads"
    (top / "threaded").mkdir(parents=True)
    (top / "threaded/cgroup.type").write_text("threaded")
    assert (top / "cgroup.type").read_text() == "domain threaded\n"
    try:
        yield top
    finally:
        runtime.clean()
        for each in read_cgroup_layout().hierarchies:
            for path, _, _ in os.walk(f"{each.mount_point}/{top.name}", topdown=False):
                with suppress(FileNotFoundError):
                    os.rmdir(path)


def require_unified() -> None:
    if read_cgroup_layout().mode != "v2":
        pytest.skip("cgroup v2 has no controllers here")


@pytest.mark.parametrize("below", ["", "between/"])
def test_a_cgroup_below_a_threaded_one_is_made_threaded(runtime: Runtime, threads: Path, below: str) -> None:
    name = runtime.new_id()

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"/{threads.name}/{below}{name}"

    runtime.call("run", "-d", "--bundle", str(runtime.bundle("sleep", "100", edit=edit)), name)
    directory = threads / f"{below}{name}"
    assert (directory / "cgroup.type").read_text() == "threaded\n"
    # Processes of a threaded cgroup are listed by its threads only.
    assert str(runtime.state(name)["pid"]) in (directory / "cgroup.threads").read_text().split()
    runtime.call("exec", name, "true")
    runtime.call("delete", "--force", name)
    assert not directory.exists()


def test_a_limit_that_counts_processes_is_refused_there(runtime: Runtime, threads: Path) -> None:
    require_unified()

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"/{threads.name}/{runtime.prefix}-x"
        config["linux"]["resources"]["memory"] = {"limit": 64 << 20}

    done = runtime.run("true", edit=edit, check=False)
    assert done.returncode == 1
    assert "is domain invalid" in done.stderr
    assert "/linux/resources/memory" in done.stderr
    assert not (threads / f"{runtime.prefix}-x").exists()


@pytest.mark.parametrize(("options", "user_namespace"), [([], True), ([], False), (["ro"], True)])
def test_a_container_that_may_write_to_its_cgroups_owns_them(
    runtime: Runtime, options: list[str], user_namespace: bool
) -> None:
    require_unified()

    def edit(config: dict[str, Any]) -> None:
        linux = config["linux"]
        kinds = [entry["type"] for entry in linux["namespaces"]]
        linux["namespaces"] += [{"type": kind} for kind in ("cgroup", "user") if kind not in kinds]
        if user_namespace:
            linux["uidMappings"] = linux["gidMappings"] = [
                {"containerID": 0, "hostID": HOST_ID, "size": 65536}
            ]
        else:
            linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "user"]
        config["process"]["user"] = {"uid": 7, "gid": 0}
        config["mounts"] = [
            entry for entry in config["mounts"] if entry["destination"] != "/sys/fs/cgroup"
        ] + [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}]

    bundle = runtime.bundle("sh", "-c", "mkdir /sys/fs/cgroup/own && sleep 100 || sleep 101", edit=edit)
    for path in (runtime.directory, bundle, *bundle.rglob("*")) if user_namespace else ():
        os.chown(path, HOST_ID, HOST_ID, follow_symlinks=False)
    name = runtime.new_id()
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    group = Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text().strip().removeprefix("0::")
    directory = Path(f"/sys/fs/cgroup{group}")
    owner = 0 if options else HOST_ID + 7 if user_namespace else 7
    files = ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
    assert {(directory / file).stat().st_uid for file in files} == {owner}
    assert (directory / "pids.max").stat().st_uid == 0, "limits stay the host's"


def test_the_hosts_mount_options_survive_a_container_without_a_cgroup_namespace(runtime: Runtime) -> None:
    require_unified()

    def edit(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "cgroup"]
        config["mounts"] = [
            entry for entry in config["mounts"] if entry["destination"] != "/sys/fs/cgroup"
        ] + [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]

    # Another test may run runc, which takes the option away, at this very moment: five times that is no accident.
    for _ in range(5):
        subprocess.run(["mount", "-o", "remount,nsdelegate", "/sys/fs/cgroup"], check=True)
        seen = runtime.run("grep", "cgroup2", "/proc/mounts", edit=edit).stdout
        after = [line for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line]
        if "nsdelegate" in seen and "nsdelegate" in after[0]:
            return
    pytest.fail(f"the host lost nsdelegate: {after}")
