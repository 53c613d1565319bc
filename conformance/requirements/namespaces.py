"""config-linux.md: namespaces of every type, user mappings, clocks, names and parameters that belong to one."""

import os
import time as clock
from functools import partial

from conformance.bench import Bench
from conformance.bundle import NAMESPACES, JsonObject
from conformance.container import Container
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("namespaces")
ANCHOR = "config-linux.md#namespaces"
TIME = "config-linux.md#offset-for-time-namespace"
FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
MAPPED = {"/linux/uidMappings": MAPS, "/linux/gidMappings": MAPS}
SECONDS = 1_000_000


def own(kind: str) -> str:
    need(os.path.exists(f"/proc/self/ns/{FILES[kind]}"), f"the kernel has no {kind} namespaces")
    return os.readlink(f"/proc/self/ns/{FILES[kind]}")


def listed(kind: str, **more: str) -> JsonObject:
    """The usual namespaces, and one of this type with what `more` says; mappings for a new user namespace."""
    others = [{"type": name} for name in NAMESPACES if name != kind]
    changes: JsonObject = {"/linux/namespaces": [*others, {"type": kind, **more}]}
    return {**changes, **MAPPED} if kind == "user" and not more else changes


def without(kind: str) -> JsonObject:
    """The usual namespaces but this one; without a mount namespace nothing may be mounted."""
    changes: JsonObject = {"/linux/namespaces": [{"type": name} for name in NAMESPACES if name != kind]}
    return changes


def new(kind: str, bench: Bench) -> None:
    mine = own(kind)
    question = f"link:/proc/self/ns/{FILES[kind]}"
    seen = bench.look(listed(kind), question)[question]
    expect(str(seen).startswith(FILES[kind]), f"the namespace is {seen!r}")
    expect(seen != mine, "the namespace is the host's")


def joined(kind: str, bench: Bench) -> None:
    own(kind)
    other = bench.running(listed(kind))
    path = f"/proc/{other.pid()}/ns/{FILES[kind]}"
    question = f"link:/proc/self/ns/{FILES[kind]}"
    container = bench.container(listed(kind, path=path), question)
    if kind == "pid":
        # /proc must be of the process's own pid namespace; the host sees which that is.
        container.rewrite({"/process/args": ["/probe", "sleep:20"]})
        container.create()
        expect_equal(os.readlink(f"/proc/{container.pid()}/ns/pid"), os.readlink(path), "pid namespace")
        return
    expect_equal(container.report()[question], os.readlink(path), f"{kind} namespace")


def inherited(kind: str, bench: Bench) -> None:
    mine = own(kind)
    container = bench.created(without(kind))
    expect_equal(os.readlink(f"/proc/{container.pid()}/ns/{FILES[kind]}"), mine, f"{kind} namespace")


def wrong_type(kind: str, bench: Bench) -> None:
    own(kind)
    other = "uts" if kind == "ipc" else "ipc"
    bench.refused(listed(kind, path=f"/proc/self/ns/{FILES[other]}"))


def add(kind: str) -> None:
    should, must = SUBJECT.should, SUBJECT.must
    should(f"{kind}-new", ANCHOR, f"A {kind} namespace without path is a new one.")(partial(new, kind))
    if kind != "mount":  # the other container's root would have to be where this one's bundle says
        must(f"{kind}-joined", ANCHOR, f"A {kind} namespace with a path is joined.")(partial(joined, kind))
    must(f"{kind}-wrong-type", ANCHOR, f"A path of another type for a {kind} namespace is an error.")(
        partial(wrong_type, kind)
    )
    if kind != "mount":  # mounting a container's root on the host is nothing that a suite should try
        must(f"{kind}-inherited", ANCHOR, f"A {kind} namespace that is not listed is the runtime's own.")(
            partial(inherited, kind)
        )


for _kind in FILES:
    add(_kind)


@SUBJECT.must("duplicate", ANCHOR, "A type that is listed twice is an error.")
def duplicate(bench: Bench) -> None:
    bench.refused({"/linux/namespaces/-": {"type": "ipc"}})


@SUBJECT.must("unknown-type", "config.md#valid-values", "A type that does not exist is an error.")
def unknown_type(bench: Bench) -> None:
    bench.refused({"/linux/namespaces/-": {"type": "conformance"}})


@SUBJECT.must("missing-path", ANCHOR, "A path that does not exist is an error.")
def missing_path(bench: Bench) -> None:
    bench.refused(listed("ipc", path="/proc/self/ns/conformance"))


@SUBJECT.must("relative-path", ANCHOR, "A path that is not absolute is an error.")
def relative_path(bench: Bench) -> None:
    bench.refused(listed("ipc", path="../../../../../../../proc/self/ns/ipc"))


@SUBJECT.must("pid-one", ANCHOR, "In a new pid namespace the program is process 1, and sees no others.")
def pid_one(bench: Bench) -> None:
    seen = bench.look({}, "list:/proc")
    expect_equal(seen["pid"], 1, "pid")
    expect_equal([name for name in seen["list:/proc"] if name.isdigit()], ["1"], "processes in /proc")


@SUBJECT.must("network-isolated", ANCHOR, "A new network namespace has its own devices: only lo.")
def network_isolated(bench: Bench) -> None:
    seen = bench.look({}, "file:/proc/net/dev", "net:lo")
    devices = [line.partition(":")[0].strip() for line in seen["file:/proc/net/dev"].splitlines()[2:]]
    expect("lo" in devices, f"devices: {devices}")
    expect(not {"eth0", "docker0"} & set(devices), f"devices of the host: {devices}")


@SUBJECT.callers("loopback-up", "In a new network namespace lo is up.")
def loopback_up(bench: Bench) -> None:
    expect(bench.look({}, "net:lo")["net:lo"]["flags"] & 1 == 1, "lo is down")


@SUBJECT.must("ipc-isolated", ANCHOR, "A new IPC namespace has queues of its own.")
def ipc_isolated(bench: Bench) -> None:
    with open("/proc/sysvipc/shm", encoding="utf-8") as file:
        on_the_host = len(file.read().splitlines())
    seen = bench.look({}, "file:/proc/sysvipc/shm")["file:/proc/sysvipc/shm"]
    expect(
        len(seen.splitlines()) == 1, f"segments of shared memory: {seen} ({on_the_host} lines on the host)"
    )


@SUBJECT.must("cgroup-isolated", ANCHOR, "In a new cgroup namespace the container's cgroup is the root.")
def cgroup_isolated(bench: Bench) -> None:
    changes = {**listed("cgroup"), "/linux/cgroupsPath": bench.cgroup}
    seen = bench.look(changes, "file:/proc/self/cgroup")["file:/proc/self/cgroup"]
    expect(bench.cgroup not in seen, f"the host's path shows: {seen}")


# User namespaces.


@SUBJECT.must(
    "mappings", "config-linux.md#user-namespace-mappings", "uidMappings and gidMappings are written."
)
def mappings(bench: Bench) -> None:
    uids = [
        {"containerID": 0, "hostID": 100000, "size": 10},
        {"containerID": 10, "hostID": 200000, "size": 5},
    ]
    changes = {**listed("user"), "/linux/uidMappings": uids, "/linux/gidMappings": MAPS}
    seen = bench.look(changes, "file:/proc/self/uid_map", "file:/proc/self/gid_map")
    expect_equal(
        seen["file:/proc/self/uid_map"].split(), ["0", "100000", "10", "10", "200000", "5"], "uid_map"
    )
    expect_equal(seen["file:/proc/self/gid_map"].split(), ["0", "100000", "65536"], "gid_map")
    expect_equal((seen["uid"], seen["gid"]), (0, 0), "uid and gid inside")


@SUBJECT.must(
    "mapped-user", "config.md#posix-platform-user", "process.user is an id inside of the container."
)
def mapped_user(bench: Bench) -> None:
    changes = {**listed("user"), "/process/user": {"uid": 5, "gid": 6, "additionalGids": [7]}}
    seen = bench.look(changes)
    expect_equal((seen["uid"], seen["gid"]), (5, 6), "uid and gid inside")
    expect(7 in seen["groups"], f"groups inside: {seen['groups']}")
    container = bench.running(changes)
    expect_equal(os.stat(f"/proc/{container.pid()}").st_uid, 100005, "uid on the host")


@SUBJECT.should(
    "mappings-leave-files", "config-linux.md#user-namespace-mappings", "Files of the root keep their owners."
)
def mappings_leave_files(bench: Bench) -> None:
    container = bench.created(listed("user"))
    owner = os.stat(f"{container.bundle}/rootfs/hello").st_uid
    expect_equal(owner, os.geteuid(), "owner of a file of the root")


@SUBJECT.must("unmapped-user", "runtime.md#create", "A process.user that no mapping has fails create.")
def unmapped_user(bench: Bench) -> None:
    bench.refused({**listed("user"), "/process/user": {"uid": 70000, "gid": 0}})


@SUBJECT.must(
    "mappings-need-namespace", "config.md#valid-values", "Mappings without a user namespace are an error."
)
def mappings_need_namespace(bench: Bench) -> None:
    bench.refused(MAPPED)


# Clocks.


def offsets(**clocks: JsonObject) -> JsonObject:
    need(os.path.exists("/proc/self/ns/time"), "the kernel has no time namespaces")
    return {"/linux/namespaces/-": {"type": "time"}, "/linux/timeOffsets": clocks}


@SUBJECT.must("time-boottime", TIME, "timeOffsets.boottime moves CLOCK_BOOTTIME.")
def time_boottime(bench: Bench) -> None:
    seen = bench.look(offsets(boottime={"secs": SECONDS}), "clock:7", "clock:1")
    expect(
        abs(seen["clock:7"] - clock.clock_gettime(clock.CLOCK_BOOTTIME) - SECONDS) < 60,
        f"{seen['clock:7']} s",
    )
    expect(abs(seen["clock:1"] - clock.monotonic()) < 60, f"the other clock says {seen['clock:1']} s")


@SUBJECT.must("time-monotonic", TIME, "timeOffsets.monotonic moves CLOCK_MONOTONIC.")
def time_monotonic(bench: Bench) -> None:
    seen = bench.look(offsets(monotonic={"secs": SECONDS, "nanosecs": 5}), "clock:7", "clock:1")
    expect(abs(seen["clock:1"] - clock.monotonic() - SECONDS) < 60, f"CLOCK_MONOTONIC is {seen['clock:1']} s")


@SUBJECT.must("time-both", TIME, "Both clocks move, one forward and one back.")
def time_both(bench: Bench) -> None:
    back = -int(clock.clock_gettime(clock.CLOCK_BOOTTIME) / 2)
    seen = bench.look(offsets(boottime={"secs": SECONDS}, monotonic={"secs": back}), "clock:7", "clock:1")
    expect(seen["clock:7"] > SECONDS, f"CLOCK_BOOTTIME is {seen['clock:7']} s")
    expect(seen["clock:1"] < clock.monotonic() + back + 60, f"CLOCK_MONOTONIC is {seen['clock:1']} s")


@SUBJECT.must("time-exec", TIME, "A process of `exec` sees the clocks of the container.")
def time_exec(bench: Bench) -> None:
    container = bench.running(offsets(boottime={"secs": SECONDS}))
    expect(container.exec("clock:7")["clock:7"] > SECONDS, "the clock is not the container's")


@SUBJECT.must("time-unknown-clock", "config.md#valid-values", "An offset of another clock is an error.")
def time_unknown_clock(bench: Bench) -> None:
    bench.refused(offsets(conformance={"secs": 1}))


# Names and parameters.


@SUBJECT.must("hostname", "config.md#hostname", "hostname is the host name of the container alone.")
def hostname(bench: Bench) -> None:
    expect_equal(bench.look({"/hostname": "conformance"})["hostname"], "conformance", "host name")
    expect(os.uname().nodename != "conformance", "the host was renamed")


@SUBJECT.must("domainname", "config.md#domainname", "domainname is the domain name of the container.")
def domainname(bench: Bench) -> None:
    expect_equal(bench.look({"/domainname": "example.org"})["domainname"], "example.org", "domain name")


@SUBJECT.must("names-in-user-namespace", "config.md#hostname", "Both names are set in a user namespace, too.")
def names_in_user_namespace(bench: Bench) -> None:
    changes = {"/linux/namespaces": [{"type": name} for name in (*NAMESPACES, "user")], **MAPPED}
    expect_equal(bench.look({**changes, "/hostname": "conformance"})["hostname"], "conformance", "host name")


@SUBJECT.callers("hostname-needs-namespace", "hostname without a new UTS namespace is refused.")
def hostname_needs_namespace(bench: Bench) -> None:
    bench.refused({**without("uts"), "/hostname": "conformance"})


def parameter(bench: Bench, name: str, value: str) -> Container:
    path = "/proc/sys/" + name.replace(".", "/")
    container = bench.container({"/linux/sysctl": {name: value}}, f"file:{path}")
    seen = str(container.report()[f"file:{path}"])
    expect_equal(" ".join(seen.split()), value, f"{name} inside")
    return container


@SUBJECT.must("sysctl", "config-linux.md#sysctl", "sysctl sets parameters of the container's namespaces.")
def sysctl(bench: Bench) -> None:
    with open("/proc/sys/kernel/msgmax", encoding="utf-8") as file:
        before = file.read()
    parameter(bench, "kernel.msgmax", "12345")
    with open("/proc/sys/kernel/msgmax", encoding="utf-8") as file:
        expect_equal(file.read(), before, "kernel.msgmax of the host")


@SUBJECT.must("sysctl-network", "config-linux.md#sysctl", "sysctl sets parameters of the network namespace.")
def sysctl_network(bench: Bench) -> None:
    parameter(bench, "net.ipv4.ip_forward", "1")
    parameter(bench, "net.ipv4.ping_group_range", "0 100")


@SUBJECT.must("sysctl-unknown", "runtime.md#create", "A parameter that does not exist fails create.")
def sysctl_unknown(bench: Bench) -> None:
    bench.refused({"/linux/sysctl": {"net.conformance": "1"}})


@SUBJECT.callers("host-sysctl", "A sysctl that would change the host is refused.")
def host_sysctl(bench: Bench) -> None:
    with open("/proc/sys/kernel/panic", encoding="utf-8") as file:
        value = file.read().strip()
    bench.refused({"/linux/sysctl": {"kernel.panic": value}})
    bench.refused({**without("network"), "/linux/sysctl": {"net.ipv4.ip_forward": "1"}})
