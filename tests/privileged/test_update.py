"""`update` against the kernel: the limits change, and all of them or none."""

import json
import os
from pathlib import Path

import pytest

from tests.privileged.containers import Runtime, runtime

pytestmark = pytest.mark.privileged
__all__ = ["runtime"]


def started(runtime: Runtime) -> str:
    container_id = runtime.new_id()
    runtime.call("run", "--detach", "--bundle", str(runtime.bundle("sleep", "60")), container_id)
    return container_id


def limit(runtime: Runtime, container_id: str, old: str, new: str) -> str:
    """The content of a cgroup file of the container, by its names in v1 and v2."""
    pid = runtime.state(container_id)["pid"]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in Path("/proc/self/mountinfo").read_text().splitlines():
            name = old if " - cgroup " in mount else new
            wanted = controllers in mount.split()[-1] if controllers else " - cgroup2 " in mount
            file = Path(mount.split()[4] + path) / name
            if wanted and " - cgroup" in mount and file.exists():
                return file.read_text().strip()
    pytest.skip(f"no {old.split('.', maxsplit=1)[0]} controller on this machine")


def test_single_limits_are_changed_by_options(runtime: Runtime) -> None:
    box = started(runtime)
    runtime.call("update", "--pids-limit", "33", "--memory=64m", "--cpu-quota", "40000", box)
    assert limit(runtime, box, "pids.max", "pids.max") == "33"
    assert limit(runtime, box, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(runtime, box, "cpu.cfs_quota_us", "cpu.max").split()[0] == "40000"


def test_resources_come_from_a_file_or_from_standard_input(runtime: Runtime, tmp_path: Path) -> None:
    box = started(runtime)
    file = tmp_path / "resources"
    file.write_text(json.dumps({"pids": {"limit": 21}}))
    runtime.call("update", "--resources", str(file), box)
    assert limit(runtime, box, "pids.max", "pids.max") == "21"
    reading, writing = os.pipe()
    os.write(writing, b'{"pids": {"limit": 22}}')
    os.close(writing)
    command = [*runtime.command, "update", "--resources=-", box]
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)]
    )
    os.close(reading)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert limit(runtime, box, "pids.max", "pids.max") == "22"


def test_a_limit_that_the_kernel_refuses_leaves_all_as_they_were(runtime: Runtime) -> None:
    box = started(runtime)
    runtime.call("update", "--pids-limit", "44", "--memory", "64m", box)
    refused = runtime.call(
        "update", "--memory", "128m", "--pids-limit", "55", "--cpuset-cpus", "4095", box, check=False
    )
    assert refused.returncode == 1
    assert "/linux/resources/cpu/cpus" in refused.stderr
    assert limit(runtime, box, "pids.max", "pids.max") == "44"
    assert limit(runtime, box, "memory.limit_in_bytes", "memory.max") == str(64 << 20)


def test_a_limit_below_what_is_used_is_refused(runtime: Runtime) -> None:
    box = started(runtime)
    refused = runtime.call("update", "--memory", "4096", box, check=False)
    assert refused.returncode == 1
    assert "rejecting memory limit 4096 due to usage" in refused.stderr


def test_a_stopped_container_has_nothing_to_update(runtime: Runtime) -> None:
    box = started(runtime)
    runtime.call("kill", box, "KILL")
    while runtime.state(box)["status"] != "stopped":
        pass
    refused = runtime.call("update", "--pids-limit", "5", box, check=False)
    assert (refused.returncode, "container not running" in refused.stderr) == (1, True)
