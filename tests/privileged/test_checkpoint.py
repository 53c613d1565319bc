"""checkpoint and restore: what CRIU is asked for, by one that stands in for it; and the real one where it works."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyruntime.execute.criu import messages
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]

FAKE = Path(__file__).with_name("fake_criu.py")


class FakeCriu:
    """The stand-in, first in PATH."""

    def __init__(self, directory: Path) -> None:
        self.notes = directory / "requests"
        folder = directory / "fake-bin"
        folder.mkdir()
        program = folder / "criu"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
        program.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "FAKE_CRIU_NOTES": str(self.notes),
        }

    def request(self, kind: int) -> dict[str, Any]:
        """The options of the last request of a kind."""
        lines = [json.loads(line) for line in self.notes.read_text().splitlines()]
        found: dict[str, Any] = [line for line in lines if line["type"] == kind][-1]["opts"]
        return found


@pytest.fixture
def criu(runtime: Runtime) -> FakeCriu:
    return FakeCriu(runtime.directory)


def ask(runtime: Runtime, criu: FakeCriu, *words: str, check: bool = True, **more: str) -> Any:
    return runtime.call(*words, check=check, env=criu.environment | more)


def running(runtime: Runtime, *, edit: Any = None) -> tuple[Path, str]:
    bundle, name = runtime.bundle("sleep", "100", edit=edit), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    return bundle, name


def test_checkpoint_asks_for_what_the_options_say(runtime: Runtime, criu: FakeCriu) -> None:
    source = runtime.directory / "data"
    source.mkdir()

    def edit(config: dict[str, Any]) -> None:
        mount = {"destination": "/var/run/data", "source": str(source), "type": "bind", "options": ["bind"]}
        config["mounts"].append(mount)
        config["annotations"] = {"org.criu.config": "/some/criu.conf"}

    bundle = runtime.bundle("sleep", "100", edit=edit)
    (bundle / "rootfs/run").mkdir()
    (bundle / "rootfs/var").mkdir()
    (bundle / "rootfs/var/run").symlink_to("/run")
    name = runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    pid = runtime.state(name)["pid"]
    images = runtime.directory / "images"
    (runtime.directory / "earlier").mkdir()
    words = (
        "--tcp-established --ext-unix-sk --shell-job --file-locks --auto-dedup --leave-running --link-remap"
    )
    words += " --tcp-skip-in-flight --manage-cgroups-mode full --empty-ns network --page-server 127.0.0.1:77"
    words += " --network-lock skip --parent-path ../earlier"
    words += f" --image-path {images} --work-path {runtime.directory / 'work'}"
    ask(runtime, criu, "checkpoint", *words.split(), name)

    asked = criu.request(messages.DUMP)
    flags = "tcp_established ext_unix_sk shell_job file_locks auto_dedup leave_running link_remap"
    flags += " tcp_skip_in_flight track_mem notify_scripts orphan_pts_master"
    assert all(asked[flag] == 1 for flag in flags.split())
    assert asked["pid"] == pid
    assert asked["root"] == str(bundle / "rootfs")
    assert asked["manage_cgroups_mode"] == 4
    assert asked["network_lock"] == 3
    assert asked["empty_ns"] == 0x40000000
    assert asked["ps"] == {"address": "127.0.0.1", "port": 77}
    assert asked["parent_img"] == "../earlier"
    assert asked["config_file"] == "/some/criu.conf"
    assert {"key": "/run/data", "val": "/run/data"} in asked["ext_mnt"]
    assert {"key": "/proc/timer_list", "val": "/dev/null"} in asked["ext_mnt"]
    assert name in asked["freeze_cgroup"]
    assert json.loads((images / "descriptors.json").read_text()) == [
        os.readlink(f"/proc/{pid}/fd/0"),
        *(
            f"file[{mount_of(pid, stream):x}:{os.stat(f'/proc/{pid}/fd/{stream}').st_ino:x}]"
            for stream in (1, 2)
        ),
    ]
    assert runtime.state(name)["status"] == "running"


def mount_of(pid: int, stream: int) -> int:
    words = Path(f"/proc/{pid}/fdinfo/{stream}").read_text().split()
    return int(words[words.index("mnt_id:") + 1])


def test_a_container_is_gone_after_its_checkpoint_but_not_after_a_pre_dump(
    runtime: Runtime, criu: FakeCriu
) -> None:
    _, name = running(runtime)
    images = runtime.directory / "images"
    ask(runtime, criu, "checkpoint", "--image-path", str(images / "one"), "--pre-dump", name)
    assert criu.request(messages.PRE_DUMP)["track_mem"] == 1
    assert runtime.state(name)["status"] == "running"
    ask(runtime, criu, "checkpoint", "--image-path", str(images / "two"), "--parent-path", "../one", name)
    assert "container does not exist" in runtime.call("state", name, check=False).stderr


def test_a_namespace_by_path_is_the_outsides(runtime: Runtime, criu: FakeCriu) -> None:
    owner = subprocess.Popen(["unshare", "--net", "sleep", "100"])
    try:
        path = f"/proc/{owner.pid}/ns/net"
        deadline = time.monotonic() + 10
        while os.stat(path).st_ino == os.stat("/proc/self/ns/net").st_ino:
            assert time.monotonic() < deadline
            time.sleep(0.01)

        def edit(config: dict[str, Any]) -> None:
            for namespace in config["linux"]["namespaces"]:
                if namespace["type"] == "network":
                    namespace["path"] = path

        bundle, name = running(runtime, edit=edit)
        images = runtime.directory / "images"
        ask(runtime, criu, "checkpoint", "--image-path", str(images), name)
        key = f"net[{os.stat(path).st_ino}]:extRootNetNS"
        externals = criu.request(messages.DUMP)["external"]
        assert key in (externals if isinstance(externals, list) else [externals])
        ask(runtime, criu, "restore", "-d", "--bundle", str(bundle), "--image-path", str(images), name)
        inherited = criu.request(messages.RESTORE)["inherit_fd"]
        assert "extRootNetNS" in [one["key"] for one in inherited]
    finally:
        owner.kill()
        owner.wait()


def test_restore_puts_criu_into_the_cgroups_and_tells_it_of_mounts(runtime: Runtime, criu: FakeCriu) -> None:
    def edit(config: dict[str, Any]) -> None:
        mount = {"destination": "/data", "source": "/etc/hosts", "type": "bind", "options": ["bind"]}
        config["mounts"].append(mount)
        config["linux"]["resources"] = {"pids": {"limit": 77}, "devices": [{"allow": False, "access": "rwm"}]}
        config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {state}"]}]}

    state = runtime.directory / "hook-state"
    bundle, name = running(runtime, edit=edit)
    images, pid_file = runtime.directory / "images", runtime.directory / "pid"
    ask(runtime, criu, "checkpoint", "--image-path", str(images), name)
    state.unlink()
    (bundle / "rootfs/data").unlink()
    words = "--tcp-close --lsm-profile apparmor:p --lsm-mount-context c --detach -no-subreaper --no-pivot --lazy-pages"
    paths = ["--bundle", str(bundle), "--image-path", str(images), "--pid-file", str(pid_file)]
    ask(runtime, criu, "restore", *words.split(), *paths, name)

    asked = criu.request(messages.RESTORE)
    assert {"key": "/data", "val": "/etc/hosts"} in asked["ext_mnt"]
    assert {"key": "/dev/null", "val": "/dev/null"} in asked["ext_mnt"]
    assert asked["rst_sibling"] == asked["tcp_close"] == asked["lazy_pages"] == 1
    assert (asked["lsm_profile"], asked["lsm_mount_context"]) == ("apparmor:p", "c")
    roots = asked["cg_root"]
    assert any(name in root["path"] for root in (roots if isinstance(roots, list) else [roots]))
    # The mount point that a fresh root lacks was made.
    assert (bundle / "rootfs/data").is_file()
    pid = int(pid_file.read_text())
    assert runtime.state(name)["pid"] == pid
    assert runtime.state(name)["status"] == "running"
    assert json.loads(state.read_text())["pid"] == pid
    assert name in Path(f"/proc/{pid}/cgroup").read_text()
    assert "criu-root" not in Path("/proc/self/mountinfo").read_text()
    limits = [Path(group) / "pids.max" for group in groups_of(pid)]
    assert "77" in [limit.read_text().strip() for limit in limits if limit.exists()]


def groups_of(pid: int) -> Iterator[str]:
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [words[4] for words in mounts if "cgroup" in words[words.index("-") + 1]]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        yield from (point + line.split(":", 2)[2] for point in points)


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_a_failure_quotes_the_log_and_leaves_things_as_they_were(
    runtime: Runtime, criu: FakeCriu, verb: str
) -> None:
    bundle, name = running(runtime)
    images, work = runtime.directory / "images", runtime.directory / "work"
    words = ["--image-path", str(images), "--work-path", str(work), name]
    said = "Connected TCP socket, consider using --tcp-established option."
    if verb == "restore":
        ask(runtime, criu, "checkpoint", *words)
        words = ["--bundle", str(bundle), "--detach", *words]
    log = runtime.directory / "log.json"
    globals_ = ("--log", str(log), "--log-format", "json")
    failed = ask(runtime, criu, *globals_, verb, *words, check=False, FAKE_CRIU_FAILS=said)
    assert failed.returncode == 1
    kind = "DUMP" if verb == "checkpoint" else "RESTORE"
    assert f"criu failed: type {kind} errno 22 (invalid argument): {said} ({work}/" in failed.stderr
    assert json.loads(log.read_text())["hint"] == "add --tcp-established, to checkpoint and to restore"
    if verb == "checkpoint":
        assert runtime.state(name)["status"] == "running"
    else:
        assert runtime.leftovers() == []


def test_criu_that_is_missing_old_or_without_the_feature(runtime: Runtime, criu: FakeCriu) -> None:
    _, name = running(runtime)
    words = ["checkpoint", "--image-path", str(runtime.directory / "images")]
    old = ask(runtime, criu, *words, name, check=False, FAKE_CRIU_VERSION="2.12.0")
    assert (old.returncode, "CRIU version 21200 must be 30000 or higher" in old.stderr) == (1, True)
    lacks = ask(runtime, criu, *words, "--pre-dump", name, check=False, FAKE_CRIU_LACKS="1")
    assert "CRIU is missing features: [mem_track]" in lacks.stderr
    (runtime.directory / "fake-bin/criu").write_text("#!/bin/sh\nexit 1\n")
    broken = ask(runtime, criu, *words, name, check=False)
    assert "CRIU version check failed" in broken.stderr
    assert runtime.state(name)["status"] == "running"


def test_only_what_runs_is_saved(runtime: Runtime, criu: FakeCriu) -> None:
    bundle, name = runtime.bundle("true"), runtime.new_id()
    runtime.call("create", "--bundle", str(bundle), name)
    failed = ask(runtime, criu, "checkpoint", name, check=False)
    assert "Container cannot be checkpointed in created state" in failed.stderr
