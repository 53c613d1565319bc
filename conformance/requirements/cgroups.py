"""config-linux.md: the cgroup of the container and its limits, read on the host."""

import os

from conformance.bench import Bench
from conformance.container import Container
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("cgroups")
MEBIBYTE = 1 << 20


def value_of(container: Container, controller: str, old: str, unified: str) -> str:
    """Content of a file of the container's cgroup: `old` is its name in v1, `unified` in v2.

    Raises:
        UnavailableError: no hierarchy here has the controller.
    """
    found = container.cgroups()
    directory, name = (found[controller], old) if controller in found else (found.get("", ""), unified)
    path = f"{directory}/{name}"
    need(os.path.exists(path), f"no {controller} controller on this machine")
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


@SUBJECT.must(
    "path", "config-linux.md#cgroups-path", "An absolute cgroupsPath is taken from the hierarchy's root."
)
def path(bench: Bench) -> None:
    found = bench.running({"/linux/cgroupsPath": bench.cgroup}).cgroups()
    expect(any(place.endswith(bench.cgroup) for place in found.values()), f"the cgroups are {found}")


@SUBJECT.must(
    "path-stable", "config-linux.md#cgroups-path", "The same cgroupsPath gives the same place again."
)
def path_stable(bench: Bench) -> None:
    places = []
    for _ in range(2):
        container = bench.running({"/linux/cgroupsPath": bench.cgroup})
        places.append(container.cgroups())
        bench.command("delete", "--force", container.identifier)
    expect_equal(places[1], places[0], "cgroups of the second container")


@SUBJECT.must("memory", "config-linux.md#memory", "resources.memory.limit is the limit of the cgroup.")
def memory(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"memory": {"limit": 64 * MEBIBYTE}}})
    seen = value_of(container, "memory", "memory.limit_in_bytes", "memory.max")
    expect_equal(seen, str(64 * MEBIBYTE), "limit of memory")


@SUBJECT.must("pids", "config-linux.md#pids", "resources.pids.limit is the limit of the cgroup.")
def pids(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"pids": {"limit": 23}}})
    expect_equal(value_of(container, "pids", "pids.max", "pids.max"), "23", "limit of processes")


@SUBJECT.must("cpu", "config-linux.md#cpu", "resources.cpu sets quota and period.")
def cpu(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"cpu": {"quota": 40000, "period": 80000}}})
    seen = value_of(container, "cpu", "cpu.cfs_quota_us", "cpu.max")
    expect_equal(seen.split()[0], "40000", "quota")


@SUBJECT.must("cpuset", "config-linux.md#cpu", "resources.cpu.cpus is the set of CPUs of the program.")
def cpuset(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"cpu": {"cpus": "0"}}})
    expect_equal(value_of(container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0", "CPUs of the cgroup")
    expect_equal(os.sched_getaffinity(container.pid()), {0}, "CPUs of the process")


@SUBJECT.must(
    "devices", "config-linux.md#allowed-device-list", "A device that is not allowed cannot be opened."
)
def devices(bench: Bench) -> None:
    device = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    rules = [{"allow": False, "access": "rwm"}]
    changes = {"/linux/devices": [device], "/linux/resources": {"devices": rules}}
    seen = bench.look(changes, "open:/dev/kmsg", "open:/dev/null")
    expect_equal(seen["open:/dev/kmsg"], {"errno": 1}, "opening a denied device")
    expect("result" in seen["open:/dev/null"], "a default device cannot be opened")


@SUBJECT.must("unified", "config-linux.md#unified", "Each entry of resources.unified is written to its file.")
def unified(bench: Bench) -> None:
    need(os.path.exists("/sys/fs/cgroup/cgroup.controllers"), "this machine is not all cgroup v2")
    container = bench.running({"/linux/resources": {"unified": {"pids.max": "29"}}})
    expect_equal(value_of(container, "pids", "", "pids.max"), "29", "pids.max")


@SUBJECT.callers("update", "`update` changes the limits of a running container.")
def update(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"pids": {"limit": 23}}})
    result = container.command(
        "update", "--resources", "-", container.identifier, stdin='{"pids": {"limit": 31}}'
    )
    expect_equal(result.returncode, 0, f"exit status of `update` ({result.stderr.strip()})")
    expect_equal(value_of(container, "pids", "pids.max", "pids.max"), "31", "limit of processes")
