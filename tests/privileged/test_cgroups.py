"""Limits, devices, freezing and killing by cgroup, as the kernel shows them; of both versions if not said otherwise."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Edit, Runtime, require_cgroupfs, runtime

__all__ = ["runtime"]

ROOT = Path("/sys/fs/cgroup")
NOTHING = {"memory.max": "max", "pids.max": "max", "cpu.max": "max 100000"}
# Resources of the config, and what is in the container's cgroup then.
LIMITS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "memory": (
        {"memory": {"limit": 100 << 20, "swap": 150 << 20, "reservation": 50 << 20}},
        {"memory.max": f"{100 << 20}", "memory.swap.max": f"{50 << 20}", "memory.low": f"{50 << 20}"},
    ),
    "swap that equals memory": (
        {"memory": {"limit": 64 << 20, "swap": 64 << 20}},
        {"memory.max": f"{64 << 20}", "memory.swap.max": "0"},
    ),
    "cpu": (
        {"cpu": {"shares": 1024, "quota": 50000, "period": 200000, "burst": 20000, "cpus": "0", "mems": "0"}},
        {
            "cpu.weight": "100",
            "cpu.max": "50000 200000",
            "cpu.max.burst": "20000",
            "cpuset.cpus": "0",
            "cpuset.mems": "0",
        },
    ),
    "idle": ({"cpu": {"idle": 1, "shares": 512}}, {"cpu.idle": "1"}),
    "pids": ({"pids": {"limit": 33}}, {"pids.max": "33"}),
    "no limits": (
        {"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}},
        {**NOTHING, "memory.swap.max": "max"},
    ),
    "huge pages": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]},
        {"hugetlb.2MB.max": f"{4 << 20}"},
    ),
    "block weight": ({"blockIO": {"weight": 300}}, {"io.weight": "default 2930"}),
    "unified, after the others": (
        {
            "pids": {"limit": 33},
            "unified": {"pids.max": "17", "memory.high": "67108864", "cpu.weight": "77", "memory.swap.max": "0"},
        },
        {"pids.max": "17", "memory.high": "67108864", "cpu.weight": "77", "memory.swap.max": "0"},
    ),
}  # fmt: skip


def is_unified() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def with_resources(resources: dict[str, Any]) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"].update(resources)

    return edit


def started(runtime: Runtime, *arguments: str, edit: Edit | None = None) -> str:
    name = runtime.new_id()
    runtime.call("run", "--detach", "--bundle", str(runtime.bundle(*arguments, edit=edit)), name)
    return name


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("case", LIMITS)
def test_limits_of_the_unified_hierarchy_are_in_force(runtime: Runtime, case: str) -> None:
    if not is_unified():
        pytest.skip("cgroup v2 has no controllers here")
    resources, expected = LIMITS[case]
    absent = {name.split(".")[0] for name in expected} - set(
        (ROOT / "cgroup.controllers").read_text().split()
    )
    if absent:
        pytest.skip(f"no {', '.join(sorted(absent))} controller")
    name = started(runtime, "sleep", "100", edit=with_resources(resources))
    membership = Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text()
    assert membership.startswith("0::/")
    directory = ROOT / membership.strip().removeprefix("0::/")
    assert name in directory.name
    assert {file: (directory / file).read_text().strip() for file in expected} == expected


@pytest.mark.parametrize("file", ["memory.nonsense", "nonsense.max"])
def test_a_unified_file_that_does_not_exist_is_refused(runtime: Runtime, file: str) -> None:
    if not is_unified():
        pytest.skip("cgroup v2 has no controllers here")
    result = runtime.run("true", edit=with_resources({"unified": {file: "1"}}), check=False)
    assert result.returncode == 1
    assert f"/linux/resources/unified/{file}" in result.stderr
    assert runtime.leftovers() == []


def test_more_memory_than_allowed_ends_the_process(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 16 << 20}
        config["mounts"].append({"destination": "/fill", "type": "tmpfs", "source": "tmpfs"})

    # Pages of a tmpfs count as the container's, and cannot be dropped.
    script = "head -c 64m /dev/zero > /fill/a; echo $?"
    result = runtime.run("sh", "-c", script, edit=edit, check=False)
    assert result.returncode == 137 or result.stdout.strip() != "0"


@pytest.mark.parametrize("allowed", [False, True])
def test_a_device_can_be_opened_only_if_it_is_allowed(runtime: Runtime, allowed: bool) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
        rules = [{"allow": False, "access": "rwm"}]
        if allowed:
            rules.append({"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"})
        config["linux"]["resources"]["devices"] = rules

    script = "(: > /dev/null) && echo null; (: > /dev/kmsg) && echo kmsg"
    result = runtime.run("sh", "-c", script, edit=edit, check=False)
    assert result.stdout.split() == (["null", "kmsg"] if allowed else ["null"])
    assert ("Operation not permitted" in result.stderr) is not allowed


@pytest.mark.parametrize("resources", [None, {}, {"devices": [{"allow": True, "type": "c", "access": "m"}]}])
def test_what_no_rule_allows_is_denied(runtime: Runtime, resources: dict[str, Any] | None) -> None:
    def edit(config: dict[str, Any]) -> None:
        for name in ("bounding", "effective", "permitted"):
            config["process"]["capabilities"][name] = ["CAP_MKNOD"]
        config["linux"].pop("resources", None)
        if resources is not None:
            config["linux"]["resources"] = resources

    # In /dev, because the bundle may lie on a file system without devices.
    script = "cd /dev; mknod k c 1 11; mknod n c 1 3; (: > k) && echo kmsg; (: > n) && echo null"
    result = runtime.run("sh", "-c", script, edit=edit, check=False)
    assert result.stdout.split() == ["null"]
    assert "Operation not permitted" in result.stderr


def test_a_paused_container_does_nothing_until_it_is_resumed(runtime: Runtime) -> None:
    script = "while :; do echo >> /ticks; sleep 0.01; done"
    bundle, name = runtime.bundle("sh", "-c", script), runtime.new_id()
    ticks = bundle / "rootfs" / "ticks"
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    wait_until(ticks.exists, "it does not run")
    runtime.call("pause", name)
    assert runtime.state(name)["status"] == "paused"
    size = ticks.stat().st_size
    time.sleep(0.2)
    assert ticks.stat().st_size == size
    runtime.call("resume", name)
    assert runtime.state(name)["status"] == "running"
    wait_until(lambda: ticks.stat().st_size > size, "it does not go on")


def test_a_paused_container_can_be_deleted_by_force(runtime: Runtime) -> None:
    name = started(runtime, "sleep", "100")
    pid = runtime.state(name)["pid"]
    runtime.call("pause", name)
    runtime.call("delete", "--force", name)
    wait_until(lambda: not is_alive(pid), "its process is still there")
    assert runtime.leftovers() == []


def test_without_a_pid_namespace_nothing_of_the_container_survives_it(runtime: Runtime) -> None:
    def share(config: dict[str, Any]) -> None:
        namespaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "pid"]

    bundle = runtime.bundle("sh", "-c", "sleep 100 & echo $! > /second; wait", edit=share)
    name, second = runtime.new_id(), bundle / "rootfs" / "second"
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    wait_until(lambda: second.exists() and second.read_text().endswith("\n"), "no second process")
    pids = [runtime.state(name)["pid"], int(second.read_text())]
    assert all(map(is_alive, pids))
    runtime.call("delete", "--force", name)
    wait_until(lambda: not any(map(is_alive, pids)), "some of its processes are still there")


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_the_cgroup_is_where_the_config_says_and_gone_afterwards(runtime: Runtime, place: str) -> None:
    require_cgroupfs()
    path = f"{runtime.prefix}-parent/inner"

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"/{path}" if place == "absolute" else path

    name = started(runtime, "sleep", "100", edit=edit)
    lines = Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text().splitlines()
    found = [line.split(":", 2)[2] for line in lines if line.split(":", 2)[2].endswith(path)]
    assert found
    assert place == "relative" or f"/{path}" in found
    runtime.call("delete", "--force", name)
    for directory, names, _ in os.walk(ROOT):
        assert "inner" not in names or f"{runtime.prefix}-parent" not in directory
        for stale in [entry for entry in names if entry == f"{runtime.prefix}-parent"]:
            os.rmdir(f"{directory}/{stale}")
            names.remove(stale)


def test_the_cgroups_of_others_can_only_be_read(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "cgroup"]
        linux.pop("resources", None)
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys/fs/cgroup"]
        config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})

    script = "cd /sys/fs/cgroup; for place in . *; do test -d $place && mkdir $place/made 2>&1; done; true"
    bundle = runtime.bundle("sh", "-c", script, edit=edit)
    done = runtime.call("--cgroup-manager", "disabled", "run", "--bundle", str(bundle), runtime.new_id())
    found = done.stdout.splitlines()
    hierarchies = [line for line in found if "'./made'" not in line]
    assert all("Read-only file system" in line for line in hierarchies)
    assert len(found) >= 1


def test_kill_all_reaches_every_process(runtime: Runtime) -> None:
    name = runtime.new_id()
    child = "trap 'echo got > /tmp/got; exit' USR1; touch /tmp/ready; while :; do sleep 0.05; done"
    bundle = runtime.bundle("sh", "-c", f'sh -c "{child}" & exec sleep 100')
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    wait_for(bundle / "rootfs/tmp/ready")
    runtime.call("kill", name, "USR1")  # the init alone, which ignores it
    assert not (bundle / "rootfs/tmp/got").exists()
    runtime.call("kill", "--all", name, "USR1")
    wait_for(bundle / "rootfs/tmp/got")
    assert runtime.state(name)["status"] == "running"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.01)
