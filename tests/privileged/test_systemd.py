"""The systemd cgroup driver: with the systemd that is the init here, beside runc; and with an imitation of one."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyruntime.host.cgroups import read_cgroup_layout
from tests.conftest import program
from tests.fake_systemd import FakeSystemd, fake_systemd
from tests.privileged.containers import Edit, Runtime, find_cgroups, runtime

__all__ = ["runtime"]

DRIVER = "--systemd-cgroup"
RESOURCES = {
    "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 33},
}
MEMORY = {"memory": {"limit": 128 << 20, "swap": 192 << 20, "reservation": 64 << 20}}
# What is right to differ: what a process has used and when it began, the text for people, a formula that runc has since
# changed (CPUWeight), a device more, and a limit that runc does not tell systemd of.
OF_ITS_OWN = frozenset({
    "CPUUsageNSec", "CPUWeight", "ControlGroupId", "Description", "DeviceAllow", "DropInPaths", "IOReadBytes",
    "IOReadOperations", "IOWeight", "InvocationID", "MemoryAvailable", "MemoryCurrent", "TasksCurrent",
})  # fmt: skip


@pytest.fixture
def systemd() -> None:
    """The systemd of this machine."""
    if not os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd is not the init")


@pytest.fixture
def imitation(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    """Something that answers as systemd does, and makes scopes with their cgroups."""
    with fake_systemd(runtime.directory / "bus") as fake:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
        try:
            yield fake
        finally:
            runtime.clean()
            # Slices are systemd's to remove, and of v1 controllers nobody's: runc leaves them as well.
            for hierarchy in read_cgroup_layout().hierarchies:
                for path, _, _ in os.walk(f"{hierarchy.mount_point}/{slice_of(runtime)}", topdown=False):
                    os.rmdir(path)


def slice_of(runtime: Runtime) -> str:
    """A slice for this test alone."""
    return f"{runtime.prefix.replace('-', '_')}.slice"


def is_unified() -> bool:
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def with_unit(runtime: Runtime, edit: Edit | None = None) -> tuple[str, str, Edit]:
    """An id, the unit for it, and what to change in the config for that."""
    name = runtime.new_id()

    def change(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"{slice_of(runtime)}:{runtime.prefix}:{name}"
        if edit is not None:
            edit(config)

    return name, f"{runtime.prefix}-{name}.scope", change


def started(runtime: Runtime, edit: Edit | None = None, *arguments: str) -> tuple[str, str]:
    """Start a container in a unit; returns its id and the unit's name."""
    name, unit, change = with_unit(runtime, edit)
    bundle = runtime.bundle(*(arguments or ("sleep", "100")), edit=change)
    runtime.call(DRIVER, "run", "--detach", "--bundle", str(bundle), name)
    return name, unit


def cgroup_of(runtime: Runtime, name: str, controller: str = "") -> Path:
    """The directory of the init in one hierarchy, "" is that of v2."""
    lines = [
        line.split(":", 2)
        for line in Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text().splitlines()
    ]
    (path,) = [path for _, controllers, path in lines if controller in controllers.split(",")]
    (point,) = [
        hierarchy.mount_point
        for hierarchy in read_cgroup_layout().hierarchies
        if (controller in hierarchy.controllers if controller else hierarchy.version == 2)
    ]
    return Path(point + path)


def show(unit: str) -> dict[str, str]:
    """The properties of a unit; those that repeat, with their values joined."""
    out = subprocess.run(["systemctl", "show", unit], check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    for line in out.splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def change_resources(config: dict[str, Any]) -> None:
    config["linux"]["resources"].update(RESOURCES | (MEMORY if is_unified() else {}))
    config["annotations"] = {"org.systemd.property.TimeoutStopSec": "2.5"}


def read(directory: Path, files: str) -> dict[str, str]:
    return {file: (directory / file).read_text().strip() for file in files.split()}


LIMITS = {
    "memory.max": str(128 << 20),
    "memory.low": str(64 << 20),
    "memory.swap.max": str(64 << 20),
    "cpu.max": "12345 50000",
    "cpu.weight": "100",
    "pids.max": "33",
    "cpuset.cpus": "0",
}


@pytest.mark.usefixtures("systemd")
def test_the_unit_has_what_the_config_says_and_goes_with_the_container(runtime: Runtime) -> None:
    if not is_unified():
        pytest.skip("cgroup v2 has no controllers here")
    name, unit = started(runtime, change_resources)
    shown = show(unit)
    expected = {
        "ActiveState": "active",
        "Slice": slice_of(runtime),
        "Delegate": "yes",
        "DefaultDependencies": "no",
        "DevicePolicy": "strict",
        "TimeoutStopUSec": "2.500000s",
        "MemoryMax": str(128 << 20),
        "MemoryLow": str(64 << 20),
        "MemorySwapMax": str(64 << 20),
        "CPUWeight": "100",
        "CPUQuotaPerSecUSec": "250ms",
        "CPUQuotaPeriodUSec": "50ms",
        "AllowedCPUs": "0",
        "AllowedMemoryNodes": "0",
        "TasksMax": "33",
    }
    assert {key: shown[key] for key in expected} == expected
    directory = cgroup_of(runtime, name)
    assert str(directory) == f"/sys/fs/cgroup/{slice_of(runtime)}/{unit}"
    assert read(directory, " ".join(LIMITS)) == LIMITS, "exact, where systemd would round"
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    rounded = LIMITS | {"cpu.max": "12500 50000"}
    assert read(directory, " ".join(LIMITS)) == rounded, "after a reload systemd writes what it knows"
    runtime.call("kill", name, "KILL")
    wait_for(lambda: runtime.state(name)["status"] == "stopped")
    runtime.call("delete", name)
    assert show(unit)["LoadState"] == "not-found"
    assert not directory.exists()


@pytest.mark.usefixtures("systemd")
def test_every_other_property_is_as_with_runc(runtime: Runtime) -> None:
    shown = []
    for command in (runtime.command, [shutil.which("runc") or "runc", "--root", str(runtime.root)]):
        name, unit, edit = with_unit(runtime, change_resources)
        bundle = str(runtime.bundle("sleep", "100", edit=edit))
        subprocess.run(
            [*command, DRIVER, "run", "--detach", "--bundle", bundle, name], check=True, timeout=60,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        shown.append({key: value.replace(unit, "UNIT") for key, value in show(unit).items()})
        subprocess.run([*command, "delete", "--force", name], check=True, timeout=60)
    ours, runcs = (
        {key: value for key, value in each.items() if key not in OF_ITS_OWN and "Timestamp" not in key}
        for each in shown
    )
    assert ours == runcs
    devices = [set(each["DeviceAllow"].replace("char-136", "char-pts").split()) for each in shown]
    assert devices[1] <= devices[0]


@pytest.mark.usefixtures("systemd")
def test_update_tells_systemd_as_well_and_a_refused_one_changes_nothing(runtime: Runtime) -> None:
    name, unit = started(runtime, change_resources)
    runtime.call("update", "--pids-limit", "44", "--cpu-quota", "20001", name)
    shown = show(unit)
    assert (shown["TasksMax"], shown["CPUQuotaPerSecUSec"]) == ("44", "410ms")
    pids, cpu = ("", "") if is_unified() else ("pids", "cpu")
    assert (cgroup_of(runtime, name, pids) / "pids.max").read_text() == "44\n"
    file = "cpu.max" if is_unified() else "cpu.cfs_quota_us"
    assert (cgroup_of(runtime, name, cpu) / file).read_text().split()[0] == "20001"
    done = runtime.call("update", "--pids-limit", "55", "--cpuset-cpus", "4095", name, check=False)
    assert done.returncode == 1
    assert show(unit)["TasksMax"] == "44"
    assert (cgroup_of(runtime, name, pids) / "pids.max").read_text() == "44\n"


@pytest.mark.usefixtures("systemd")
def test_exec_pause_and_kill_reach_the_unit(runtime: Runtime) -> None:
    name, unit = started(runtime)
    out = runtime.call("exec", name, "cat", "/proc/self/cgroup").stdout
    assert {line.split(":", 2)[2] for line in out.splitlines()} >= {f"/{slice_of(runtime)}/{unit}"}
    runtime.call("pause", name)
    assert runtime.state(name)["status"] == "paused"
    runtime.call("kill", "--all", name, "KILL")
    wait_for(lambda: runtime.state(name)["status"] == "stopped")
    runtime.call("delete", name)
    assert show(unit)["LoadState"] == "not-found"


@pytest.mark.usefixtures("systemd")
def test_a_unit_that_has_failed_is_forgotten_with_the_container(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["annotations"] = {
            "org.systemd.property.RuntimeMaxSec": "1",
            "org.systemd.property.TimeoutStopSec": "1",
        }

    name, unit = started(runtime, edit)
    wait_for(lambda: show(unit)["ActiveState"] == "failed")
    runtime.call("delete", name)
    assert show(unit)["LoadState"] == "not-found"


@pytest.mark.usefixtures("systemd")
def test_a_slice_can_be_the_unit(runtime: Runtime) -> None:
    name = runtime.new_id()

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"::pytest-{os.getpid()}.slice"

    runtime.call(DRIVER, "run", "-d", "--bundle", str(runtime.bundle("sleep", "100", edit=edit)), name)
    assert show(f"pytest-{os.getpid()}.slice")["ActiveState"] == "active"
    path = Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text().splitlines()[-1]
    assert path.endswith(f":/pytest.slice/pytest-{os.getpid()}.slice")
    runtime.call("delete", "--force", name)
    assert show(f"pytest-{os.getpid()}.slice")["ActiveState"] == "inactive"


@pytest.mark.usefixtures("systemd")
def test_a_sub_cgroup_leaves_the_unit_to_systemd(runtime: Runtime) -> None:
    if not is_unified():
        pytest.skip("cgroup v2 has no controllers here")

    def edit(config: dict[str, Any]) -> None:
        change_resources(config)
        config["annotations"]["run.oci.systemd.subgroup"] = "container"

    name, unit = started(runtime, edit)
    directory = cgroup_of(runtime, name)
    assert str(directory) == f"/sys/fs/cgroup/{slice_of(runtime)}/{unit}/container"
    assert read(directory, "cpu.max pids.max") == {"cpu.max": "12345 50000", "pids.max": "33"}
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert read(directory, "cpu.max") == {"cpu.max": "12345 50000"}
    runtime.call("exec", name, "true")
    runtime.call("delete", "--force", name)
    assert not directory.parent.exists()


# The user's own systemd


def as_user(user: int, words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": f"/run/user/{user}", **variables}
    with Path(f"/tmp/.output-{os.getpid()}").open("w+") as out:
        os.unlink(out.name)
        done = subprocess.run(
            words, user=user, group=user, extra_groups=[], env=environment, cwd="/", check=False, timeout=60,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        out.seek(0)
        return subprocess.CompletedProcess(words, done.returncode, out.read(), "")


def user_with_systemd() -> int:
    users = [int(path.parent.name) for path in Path("/run/user").glob("*/bus")]
    users = [user for user in users if user != 0]
    if not users or not is_unified():
        pytest.skip("cgroup v2 and a user whose systemd runs: there is none here")
    return users[0]


@pytest.mark.usefixtures("systemd")
def test_without_root_the_users_systemd_makes_the_unit(runtime: Runtime) -> None:
    user, name = user_with_systemd(), runtime.new_id()
    bundle = runtime.bundle("sleep", "100")
    (bundle / "config.json").unlink()
    for path in (bundle, *bundle.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)
    state = runtime.directory / "rootless"
    state.mkdir()
    os.chown(state, user, user)
    command = [*program("pyruntime"), "--root", str(state)]
    as_user(user, [*command, "spec", "--rootless", "--bundle", str(bundle)])
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sleep", "100"]}
    config["linux"]["resources"] = {"pids": {"limit": 22}, "memory": {"limit": 64 << 20}}
    (bundle / "config.json").write_text(json.dumps(config))
    done = as_user(user, [*command, DRIVER, "run", "--detach", "--bundle", str(bundle), name])
    try:
        assert done.returncode == 0, done.stdout
        pid = json.loads(as_user(user, [*command, "state", name]).stdout)["pid"]
        group = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
        service = f"/user.slice/user-{user}.slice/user@{user}.service"
        assert group == f"{service}/user.slice/pyruntime-{name}.scope"
        assert read(Path(f"/sys/fs/cgroup{group}"), "pids.max") == {"pids.max": "22"}
        # From here, outside of the user's systemd, the kernel would not let the user move a process there.
        done = as_user(user, [*command, "exec", name, "cat", "/proc/self/cgroup"])
        assert done.stdout == f"0::{group}\n"
        assert as_user(user, [*command, "update", "--pids-limit", "23", name]).returncode == 0
        assert read(Path(f"/sys/fs/cgroup{group}"), "pids.max") == {"pids.max": "23"}
    finally:
        done = as_user(user, [*command, "delete", "--force", name])
    assert (done.returncode, done.stdout) == (0, "")
    assert not Path(f"/sys/fs/cgroup{group}").exists()


# A life in one go: another user namespace of the same user would have no rights over the container.
IN_A_USER_NAMESPACE = """
group() { sed s/0::// "/proc/$(cat $bundle/pid)/cgroup"; }
$command --systemd-cgroup run --detach --pid-file $bundle/pid --bundle $bundle box >/dev/null || exit 1
group
cat /sys/fs/cgroup$(group)/pids.max /sys/fs/cgroup$(group)/memory.max
$command exec box cat /proc/self/cgroup
$command update --pids-limit 23 box
cat /sys/fs/cgroup$(group)/pids.max
$command delete --force box
$command list --quiet
"""


@pytest.mark.usefixtures("systemd")
def test_root_of_a_user_namespace_has_a_unit_of_the_users_systemd(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"] = {"pids": {"limit": 22}, "memory": {"limit": 64 << 20}}
        for mount in config["mounts"]:
            mount["options"] = [word for word in mount.get("options", []) if word != "gid=5"]

    user = user_with_systemd()
    bundle = runtime.bundle("sleep", "100", edit=edit)
    for path in (bundle, *bundle.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)
    command = [*program("pyruntime"), "--root", f"{bundle}/state"]
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", IN_A_USER_NAMESPACE]
    done = as_user(user, apart, command=" ".join(command), bundle=str(bundle))
    group = f"/user.slice/user-{user}.slice/user@{user}.service/user.slice/pyruntime-box.scope"
    assert done.stdout.splitlines() == [group, "22", str(64 << 20), f"0::{group}", "23"]
    assert not Path(f"/sys/fs/cgroup{group}").exists()


# An imitation of systemd, for machines with another init


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_life_in_a_unit(runtime: Runtime, imitation: FakeSystemd) -> None:
    name, unit, edit = with_unit(runtime, lambda config: config["linux"]["resources"].update(RESOURCES))
    bundle = str(runtime.bundle("sleep", "100", edit=edit))
    runtime.call(DRIVER, "create", "--bundle", bundle, name)
    runtime.call("start", name)
    pid = runtime.state(name)["pid"]
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    paths = {controllers: path for _, controllers, path in lines}
    assert set(paths.values()) >= {f"/{slice_of(runtime)}/{unit}"}
    mounted = {name for hierarchy in read_cgroup_layout().hierarchies for name in hierarchy.controllers}
    for controller in () if is_unified() else ("memory", "cpu", "pids", "name=systemd"):
        where = next((path for names, path in paths.items() if controller in names.split(",")), "")
        assert controller not in mounted or where == f"/{slice_of(runtime)}/{unit}", controller
    runtime.call("update", "--pids-limit", "44", name)
    runtime.call("exec", name, "true")
    runtime.call("delete", "--force", name)
    calls = imitation.calls()
    assert [member for member, _ in calls] == [
        "StartTransientUnit", "SetUnitProperties", "SetUnitProperties", "StopUnit", "ResetFailedUnit",
    ]  # fmt: skip
    properties = dict(calls[0][1][2])
    assert properties["Slice"] == ["s", slice_of(runtime)]
    assert properties["Delegate"] == ["b", True]
    assert dict(calls[1][1][2])["TasksMax"] == ["t", 33]
    assert calls[2][1][2] == [["TasksMax", ["t", 44]]]


def test_a_foreground_container_ends_with_its_unit(runtime: Runtime, imitation: FakeSystemd) -> None:
    name, unit, edit = with_unit(runtime)
    bundle = str(runtime.bundle("sh", "-c", "exit 3", edit=edit))
    done = runtime.call(DRIVER, "run", "--bundle", bundle, name, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert ("StopUnit", [unit, "replace"]) in imitation.calls()


@pytest.mark.parametrize("prefix", ["failing", "exists"])
def test_what_systemd_refuses_leaves_nothing(runtime: Runtime, imitation: FakeSystemd, prefix: str) -> None:
    name, _, _ = with_unit(runtime)

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"{slice_of(runtime)}:{prefix}:{name}"

    bundle = str(runtime.bundle("true", edit=edit))
    done = runtime.call(DRIVER, "run", "--bundle", bundle, name, check=False)
    assert done.returncode == 1
    assert "got `failed`" in done.stderr or "already exists" in done.stderr
    assert runtime.leftovers() == []
    stops = [member for member, _ in imitation.calls() if member == "StopUnit"]
    assert not (stops and prefix == "exists"), "somebody else's unit is not stopped"


def test_a_limit_that_ends_the_unit_is_said_to_have_killed_it(
    runtime: Runtime, imitation: FakeSystemd
) -> None:
    name, _, _ = with_unit(runtime)

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"{slice_of(runtime)}:deadly:{name}"
        config["linux"]["resources"]["pids"] = {"limit": 33}

    done = runtime.call(DRIVER, "run", "--bundle", str(runtime.bundle("true", edit=edit)), name, check=False)
    assert done.returncode == 1
    assert "container init was OOM-killed (memory limit too low?)" in done.stderr
    assert "SetUnitProperties" in [member for member, _ in imitation.calls()]
    assert runtime.leftovers() == []


def test_from_another_pid_namespace_no_process_is_named(runtime: Runtime, imitation: FakeSystemd) -> None:
    name, _, edit = with_unit(runtime)
    bundle = str(runtime.bundle("true", edit=edit))
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*apart, *runtime.command, DRIVER, "run", "--bundle", bundle, name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is in another pid namespace" in done.stderr
    assert "StartTransientUnit" not in [member for member, _ in imitation.calls()]
    assert runtime.leftovers() == []


def test_a_killed_create_is_cleaned_up_by_force(runtime: Runtime, imitation: FakeSystemd) -> None:
    name, _, _ = with_unit(runtime)

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = f"{slice_of(runtime)}:slow:{name}"

    bundle = str(runtime.bundle("true", edit=edit))
    create = subprocess.Popen(
        [*runtime.command, DRIVER, "create", "--bundle", bundle, name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: "StartTransientUnit" in [member for member, _ in imitation.calls()])
    create.send_signal(signal.SIGKILL)
    create.wait(10)
    runtime.call("delete", "--force", name)
    assert "StopUnit" in [member for member, _ in imitation.calls()]
    assert find_cgroups("/sys/fs/cgroup", f"slow-{name}.scope") == []
