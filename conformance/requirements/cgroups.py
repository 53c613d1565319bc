"""config-linux.md: the cgroup of the container and its limits, read on the host."""

import os
from functools import partial
from typing import NamedTuple

from conformance.bench import Bench
from conformance.bundle import NAMESPACES, JsonObject
from conformance.container import Container, mount_point
from conformance.expect import expect, expect_equal, need
from conformance.host import is_unified
from conformance.requirement import Subject

SUBJECT = Subject("cgroups")
PATH = "config-linux.md#cgroups-path"
OWNERSHIP = "config-linux.md#cgroup-ownership"
MEBIBYTE = 1 << 20


def place_of(container: Container, controller: str) -> str:
    """Directory on the host of the container's cgroup with a controller.

    Raises:
        UnavailableError: no hierarchy here has it.
    """
    found = container.cgroups()
    if controller in found:
        return found[controller]
    root = mount_point("")
    with open(f"{root}/cgroup.controllers", encoding="utf-8") as file:
        need(controller in file.read().split(), f"no {controller} controller on this machine")
    return found[""]


def value_of(container: Container, controller: str, old: str, unified: str) -> str:
    """Content of a file of the container's cgroup: `old` is its name in v1, `unified` in v2.

    Raises:
        UnavailableError: no hierarchy here has the controller, or it has no such file.
    """
    path = f"{place_of(container, controller)}/{unified if is_unified() else old}"
    need(os.path.exists(path), f"the kernel has no {os.path.basename(path)} here")
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


class Limit(NamedTuple):
    """An entry of resources, and where it shows; "" means that the cgroup version has nothing for it."""

    name: str
    anchor: str
    resources: JsonObject
    controller: str
    old: str
    old_value: str
    unified: str
    unified_value: str


def memory(name: str, value: int, old: str, unified: str, unified_value: str = "") -> Limit:
    shown = unified_value or str(value)
    return Limit(
        f"memory-{name}", "memory", {"memory": {name: value}}, "memory", old, str(value), unified, shown
    )


def cpu(name: str, value: int, old: str, unified: str, unified_value: str) -> Limit:
    return Limit(f"cpu-{name}", "cpu", {"cpu": {name: value}}, "cpu", old, str(value), unified, unified_value)


LIMITS = (
    memory("limit", 64 * MEBIBYTE, "memory.limit_in_bytes", "memory.max"),
    memory("reservation", 32 * MEBIBYTE, "memory.soft_limit_in_bytes", "memory.low"),
    memory("swappiness", 13, "memory.swappiness", ""),
    cpu("shares", 512, "cpu.shares", "cpu.weight", ""),
    cpu("period", 50000, "cpu.cfs_period_us", "cpu.max", "max 50000"),
    cpu("idle", 1, "cpu.idle", "cpu.idle", "1"),
    Limit("pids", "pids", {"pids": {"limit": 23}}, "pids", "pids.max", "23", "pids.max", "23"),
    Limit("pids-unlimited", "pids", {"pids": {"limit": -1}}, "pids", "pids.max", "max", "pids.max", "max"),
    Limit(
        "cpu-quota",
        "cpu",
        {"cpu": {"quota": 40000, "period": 80000}},
        "cpu",
        "cpu.cfs_quota_us",
        "40000",
        "cpu.max",
        "40000 80000",
    ),
    Limit(
        "cpu-burst",
        "cpu",
        {"cpu": {"quota": 40000, "burst": 20000, "period": 80000}},
        "cpu",
        "cpu.cfs_burst_us",
        "20000",
        "cpu.max.burst",
        "20000",
    ),
    Limit(
        "memory-swap",
        "memory",
        {"memory": {"limit": 64 * MEBIBYTE, "swap": 96 * MEBIBYTE}},
        "memory",
        "memory.memsw.limit_in_bytes",
        str(96 * MEBIBYTE),
        "memory.swap.max",
        str(32 * MEBIBYTE),
    ),
    Limit(
        "memory-unlimited",
        "memory",
        {"memory": {"limit": -1}},
        "memory",
        "memory.limit_in_bytes",
        str((1 << 63) - 4096),
        "memory.max",
        "max",
    ),
    Limit(
        "hugepages",
        "huge-page-limits",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEBIBYTE}]},
        "hugetlb",
        "hugetlb.2MB.limit_in_bytes",
        str(4 * MEBIBYTE),
        "hugetlb.2MB.max",
        str(4 * MEBIBYTE),
    ),
    Limit(
        "hugepages-reserved",
        "huge-page-limits",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEBIBYTE}]},
        "hugetlb",
        "hugetlb.2MB.rsvd.limit_in_bytes",
        str(4 * MEBIBYTE),
        "hugetlb.2MB.rsvd.max",
        str(4 * MEBIBYTE),
    ),
    Limit(
        "network-class",
        "network",
        {"network": {"classID": 1048577}},
        "net_cls",
        "net_cls.classid",
        "1048577",
        "",
        "",
    ),
)


def limit(entry: Limit, bench: Bench) -> None:
    if is_unified():
        need(bool(entry.unified), "this machine is not cgroup v1")
    else:
        need(
            os.path.isdir(mount_point(entry.controller)), f"no {entry.controller} controller on this machine"
        )
    container = bench.running({"/linux/resources": entry.resources})
    seen = value_of(container, entry.controller, entry.old, entry.unified)
    wanted = entry.unified_value if is_unified() else entry.old_value
    if wanted:
        expect_equal(seen, wanted, entry.unified if is_unified() else entry.old)
    else:  # runtimes convert shares to weights by one formula or another
        expect(seen not in ("100", "0"), f"{entry.unified} is {seen}")


for _entry in LIMITS:
    SUBJECT.must(
        _entry.name,
        f"config-linux.md#{_entry.anchor}",
        f"resources sets the limit of {_entry.name.replace('-', ', ')}.",
    )(partial(limit, _entry))


@SUBJECT.must("oom-killer", "config-linux.md#memory", "disableOOMKiller disables it.")
def oom_killer(bench: Bench) -> None:
    need(not is_unified(), "this machine is not cgroup v1")
    changes = {"/linux/resources": {"memory": {"limit": 64 * MEBIBYTE, "disableOOMKiller": True}}}
    seen = value_of(bench.running(changes), "memory", "memory.oom_control", "")
    expect("oom_kill_disable 1" in seen, f"memory.oom_control: {seen}")


@SUBJECT.must(
    "cpuset", "config-linux.md#cpu", "resources.cpu.cpus and mems are the CPUs and nodes of the program."
)
def cpuset(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"cpu": {"cpus": "0", "mems": "0"}}})
    expect_equal(value_of(container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0", "CPUs of the cgroup")
    expect_equal(value_of(container, "cpuset", "cpuset.mems", "cpuset.mems"), "0", "nodes of the cgroup")
    expect_equal(os.sched_getaffinity(container.pid()), {0}, "CPUs of the process")


@SUBJECT.should("pids-zero", "config-linux.md#pids", "A pids.limit of 0 is a limit.")
def pids_zero(bench: Bench) -> None:
    """1 is as good: the container's own process counts, and the kernel refuses every other under both."""
    container = bench.running({"/linux/resources": {"pids": {"limit": 0}}})
    seen = value_of(container, "pids", "pids.max", "pids.max")
    expect(seen in ("0", "1"), f"pids.max is {seen}")


def whole_disk() -> str:
    """Number of a block device that can be limited."""
    for name in sorted(os.listdir("/sys/block")):
        if not name.startswith(("loop", "ram", "zram", "dm-", "md", "nbd", "sr", "fd")):
            with open(f"/sys/block/{name}/dev", encoding="utf-8") as file:
                return file.read().strip()
    need(False, "the machine has no disk")
    return ""


THROTTLES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}


def throttle(name: str, bench: Bench) -> None:
    disk = whole_disk()
    major, minor = (int(part) for part in disk.split(":"))
    entry = {"major": major, "minor": minor, "rate": 1234567}
    container = bench.running({"/linux/resources": {"blockIO": {name: [entry]}}})
    old, key = THROTTLES[name]
    seen = value_of(container, "io" if is_unified() else "blkio", old, "io.max")
    wanted = f"{key}=1234567" if is_unified() else f"{disk} 1234567"
    expect(wanted in seen, f"the file says {seen!r}")


for _name in THROTTLES:
    SUBJECT.must(f"block-{_name.lower()}", "config-linux.md#block-io", f"blockIO.{_name} limits a disk.")(
        partial(throttle, _name)
    )


@SUBJECT.must("block-weight", "config-linux.md#block-io", "blockIO.weight is the weight of the cgroup.")
def block_weight(bench: Bench) -> None:
    container = bench.created({})
    directory = place_of(container, "io" if is_unified() else "blkio")
    names = ("io.bfq.weight", "io.weight", "blkio.bfq.weight", "blkio.weight")
    files = [f"{directory}/{name}" for name in names if os.path.exists(f"{directory}/{name}")]
    need(bool(files), "the kernel has no weights of block devices here")
    container = bench.running({"/linux/resources": {"blockIO": {"weight": 400}}})
    directory = place_of(container, "io" if is_unified() else "blkio")
    with open(f"{directory}/{os.path.basename(files[0])}", encoding="utf-8") as file:
        expect("100" not in file.read().split(), "the weight is what it is by default")


# Where the cgroup is.


@SUBJECT.must("path", PATH, "An absolute cgroupsPath is taken from the hierarchy's root.")
def path(bench: Bench) -> None:
    container = bench.running(
        {"/linux/cgroupsPath": bench.cgroup, "/linux/resources": {"pids": {"limit": 9}}}
    )
    expect_equal(
        place_of(container, "pids"), mount_point("" if is_unified() else "pids") + bench.cgroup, "cgroup"
    )


@SUBJECT.must("path-stable", PATH, "The same cgroupsPath gives the same place again.")
def path_stable(bench: Bench) -> None:
    places = []
    for _ in range(2):
        container = bench.running({"/linux/cgroupsPath": bench.cgroup})
        places.append(container.cgroups())
        bench.command("delete", "--force", container.identifier)
    expect_equal(places[1], places[0], "cgroups of the second container")


@SUBJECT.must("path-relative", PATH, "A relative cgroupsPath gives a place, and the same again.")
def path_relative(bench: Bench) -> None:
    places = []
    for _ in range(2):
        container = bench.running({"/linux/cgroupsPath": bench.cgroup.lstrip("/")})
        places.append(container.cgroups())
        bench.command("delete", "--force", container.identifier)
    expect(
        any(bench.cgroup.lstrip("/") in place for place in places[0].values()), f"the cgroups are {places[0]}"
    )
    expect_equal(places[1], places[0], "cgroups of the second container")


@SUBJECT.must("path-inside", PATH, "A cgroupsPath with .. stays below the hierarchy's root, or is an error.")
def path_inside(bench: Bench) -> None:
    container = bench.container({"/linux/cgroupsPath": f"/../../../..{bench.cgroup}"})
    result = container.command("create", "--bundle", container.bundle, container.identifier)
    if result.returncode == 0:
        for place in container.cgroups().values():
            expect(place.startswith("/sys/fs/cgroup"), f"the container's cgroup is {place}")


@SUBJECT.must(
    "not-empty",
    "runtime.md#delete",
    "A cgroup with other processes is refused or shared, unharmed.",
)
def not_empty(bench: Bench) -> None:
    first = bench.running({"/linux/cgroupsPath": bench.cgroup})
    second = bench.container({"/linux/cgroupsPath": bench.cgroup})
    second.command("create", "--bundle", second.bundle, second.identifier)
    second.command("delete", "--force", second.identifier)
    expect_equal(first.status(), "running", "status of the container that was there before")


def owner(container: Container) -> int:
    return os.stat(container.cgroups()[""] if is_unified() else place_of(container, "pids")).st_uid


def owned(*, read_only: bool, namespace: bool) -> JsonObject:
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    kinds = [*NAMESPACES, "user", *(["cgroup"] if namespace else [])]
    options = ["nosuid", "noexec", "nodev", "ro" if read_only else "rw"]
    kind = "cgroup"
    mount = {"destination": "/sys/fs/cgroup", "type": kind, "source": "cgroup", "options": options}
    return {
        "/linux/namespaces": [{"type": name} for name in kinds],
        "/linux/uidMappings": maps,
        "/linux/gidMappings": maps,
        "/linux/resources": {"pids": {"limit": 100}},
        "/mounts/-": mount,
    }


@SUBJECT.should("owner-of-v1", OWNERSHIP, "The owner of a cgroup of v1 is not changed.")
def owner_of_v1(bench: Bench) -> None:
    need(not is_unified(), "this machine is not cgroup v1")
    expect_equal(owner(bench.running(owned(read_only=False, namespace=True))), 0, "owner of the cgroup")


@SUBJECT.should(
    "owner-changed", OWNERSHIP, "A cgroup that is mounted writable belongs to the container's user."
)
def owner_changed(bench: Bench) -> None:
    need(is_unified(), "this machine is not all cgroup v2")
    container = bench.running(owned(read_only=False, namespace=True))
    directory = container.cgroups()[""]
    expect_equal(owner(container), 100000, "owner of the cgroup")
    with open("/sys/kernel/cgroup/delegate", encoding="utf-8") as file:
        delegated = set(file.read().split())
    for name in os.listdir(directory):
        if os.path.isfile(f"{directory}/{name}"):
            wanted = 100000 if name in delegated else 0
            expect_equal(os.stat(f"{directory}/{name}").st_uid, wanted, f"owner of {name}")


@SUBJECT.should(
    "owner-read-only", OWNERSHIP, "The owner of a cgroup that is mounted read-only is not changed."
)
def owner_read_only(bench: Bench) -> None:
    need(is_unified(), "this machine is not all cgroup v2")
    expect_equal(owner(bench.running(owned(read_only=True, namespace=True))), 0, "owner of the cgroup")


@SUBJECT.should(
    "owner-needs-namespace", OWNERSHIP, "Without a cgroup namespace of its own the owner is not changed."
)
def owner_needs_namespace(bench: Bench) -> None:
    need(is_unified(), "this machine is not all cgroup v2")
    expect_equal(owner(bench.running(owned(read_only=False, namespace=False))), 0, "owner of the cgroup")


# `unified`.


def unified(resources: JsonObject, bench: Bench) -> Container:
    need(is_unified(), "this machine is not all cgroup v2")
    return bench.running({"/linux/resources": {"unified": resources}})


def unified_writes(name: str, value: str, bench: Bench) -> None:
    container = unified({name: value}, bench)
    expect_equal(value_of(container, name.partition(".")[0], "", name), value, name)


ANCHOR_UNIFIED = "config-linux.md#unified"
for _file, _value in (
    ("pids.max", "29"),
    ("memory.high", str(64 * MEBIBYTE)),
    ("cpu.weight", "77"),
    ("cpuset.cpus", "0"),
):
    SUBJECT.must(
        "unified-" + _file.replace(".", "-"),
        ANCHOR_UNIFIED,
        f"unified writes {_file}, with its controller enabled.",
    )(partial(unified_writes, _file, _value))


@SUBJECT.must("unified-unknown-file", ANCHOR_UNIFIED, "unified writes files that no runtime knows by name.")
def unified_unknown_file(bench: Bench) -> None:
    container = unified({"cgroup.max.depth": "3"}, bench)
    with open(f"{container.cgroups()['']}/cgroup.max.depth", encoding="utf-8") as file:
        expect_equal(file.read().strip(), "3", "cgroup.max.depth")


@SUBJECT.must(
    "unified-missing-file", ANCHOR_UNIFIED, "unified with a controller that is not there is an error."
)
def unified_missing_file(bench: Bench) -> None:
    need(is_unified(), "this machine is not all cgroup v2")
    bench.refused({"/linux/resources": {"unified": {"conformance.max": "1"}}})


@SUBJECT.must("unified-on-v1", ANCHOR_UNIFIED, "unified without cgroup v2 is an error.")
def unified_on_v1(bench: Bench) -> None:
    need(not is_unified(), "this machine is not cgroup v1")
    bench.refused({"/linux/resources": {"unified": {"pids.max": "29"}}})


@SUBJECT.must("no-conversion", ANCHOR_UNIFIED, "A limit that cgroup v2 has nothing for is an error there.")
def no_conversion(bench: Bench) -> None:
    """Swappiness and the like are no limits: callers send them everywhere, and count on their being passed over."""
    need(is_unified(), "this machine is not all cgroup v2")
    bench.refused({"/linux/resources": {"network": {"classID": 1048577}}})


# What cannot be applied must be an error.

IMPOSSIBLE: dict[str, tuple[str, JsonObject]] = {
    "bad-cpus": ("CPUs that the machine does not have", {"cpu": {"cpus": "4000-4001"}}),
    "bad-page-size": (
        "a size of pages that the kernel does not have",
        {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]},
    ),
    "bad-period": ("a period that the kernel refuses", {"cpu": {"quota": 1000, "period": 10}}),
    "swap-below-memory": (
        "less memory and swap than memory",
        {"memory": {"limit": 64 * MEBIBYTE, "swap": MEBIBYTE}},
    ),
}


def impossible(resources: JsonObject, bench: Bench) -> None:
    bench.refused({"/linux/resources": resources})


for _name, (_what, _resources) in IMPOSSIBLE.items():
    SUBJECT.must(_name, "runtime.md#create", f"A limit that asks for {_what} fails create.")(
        partial(impossible, _resources)
    )


@SUBJECT.must(
    "rdt-unavailable", "config-linux.md#intelrdt", "intelRdt without a mounted resctrl is an error."
)
def rdt_unavailable(bench: Bench) -> None:
    need(not os.path.exists("/sys/fs/resctrl/schemata"), "the machine has no lack of resctrl")
    bench.refused({"/linux/intelRdt": {"closID": "conformance", "l3CacheSchema": "L3:0=f"}})
