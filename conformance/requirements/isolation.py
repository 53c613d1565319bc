"""config-linux.md: namespaces, mappings and what belongs to a namespace."""

import os

from conformance.bench import Bench
from conformance.bundle import NAMESPACES
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("isolation")
FILES = {"mount": "mnt", "network": "net"}
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@SUBJECT.must("new", "config-linux.md#namespaces", "A namespace without path is a new one.")
def new(bench: Bench) -> None:
    names = [*NAMESPACES, "cgroup"]
    files = {name: f"/proc/self/ns/{FILES.get(name, name)}" for name in names}
    changes = {"/linux/namespaces": [{"type": name} for name in names]}
    seen = bench.look(changes, *(f"link:{path}" for path in files.values()))
    shared = [name for name, path in files.items() if seen[f"link:{path}"] == os.readlink(path)]
    expect(not shared, f"shared with the host: {shared}")


@SUBJECT.must(
    "inherited", "config-linux.md#namespaces", "A type that is not listed is inherited from the runtime."
)
def inherited(bench: Bench) -> None:
    listed = [{"type": name} for name in NAMESPACES if name != "ipc"]
    seen = bench.look({"/linux/namespaces": listed}, "link:/proc/self/ns/ipc")
    expect_equal(seen["link:/proc/self/ns/ipc"], os.readlink("/proc/self/ns/ipc"), "IPC namespace")


@SUBJECT.must("joined", "config-linux.md#namespaces", "A namespace with a path is joined.")
def joined(bench: Bench) -> None:
    other = bench.running({})
    path = f"/proc/{other.pid()}/ns/ipc"
    listed = [{"type": name} for name in NAMESPACES if name != "ipc"]
    seen = bench.look(
        {"/linux/namespaces": [*listed, {"type": "ipc", "path": path}]}, "link:/proc/self/ns/ipc"
    )
    expect_equal(seen["link:/proc/self/ns/ipc"], os.readlink(path), "IPC namespace")


@SUBJECT.must(
    "wrong-type", "config-linux.md#namespaces", "A path of a namespace of another type is an error."
)
def wrong_type(bench: Bench) -> None:
    listed = [{"type": name} for name in NAMESPACES if name != "ipc"]
    bench.refused({"/linux/namespaces": [*listed, {"type": "ipc", "path": "/proc/self/ns/net"}]})


@SUBJECT.must("duplicate", "config-linux.md#namespaces", "A type that is listed twice is an error.")
def duplicate(bench: Bench) -> None:
    bench.refused({"/linux/namespaces/-": {"type": "ipc"}})


@SUBJECT.must("pid-one", "config-linux.md#namespaces", "In a new PID namespace the program is process 1.")
def pid_one(bench: Bench) -> None:
    expect_equal(bench.look({})["pid"], 1, "pid")


@SUBJECT.must("hostname", "config.md#hostname", "hostname is the host name of the container alone.")
def hostname(bench: Bench) -> None:
    expect_equal(bench.look({"/hostname": "conformance"})["hostname"], "conformance", "host name")
    expect(os.uname().nodename != "conformance", "the host was renamed")


@SUBJECT.must("domainname", "config.md#domainname", "domainname is the domain name of the container.")
def domainname(bench: Bench) -> None:
    expect_equal(bench.look({"/domainname": "example.org"})["domainname"], "example.org", "domain name")


@SUBJECT.must("user", "config-linux.md#user-namespace-mappings", "uidMappings and gidMappings are written.")
def user(bench: Bench) -> None:
    changes = {
        "/linux/namespaces/-": {"type": "user"},
        "/linux/uidMappings": MAPS,
        "/linux/gidMappings": MAPS,
    }
    seen = bench.look(changes, "file:/proc/self/uid_map", "file:/proc/self/gid_map")
    for name in ("uid_map", "gid_map"):
        expect_equal(seen[f"file:/proc/self/{name}"].split(), ["0", "100000", "65536"], name)
    expect_equal(seen["uid"], 0, "uid inside")


@SUBJECT.must("time", "config-linux.md#offset-for-time-namespace", "timeOffsets move the clocks.")
def time(bench: Bench) -> None:
    need(os.path.exists("/proc/self/ns/time"), "the kernel has no time namespaces")
    changes = {"/linux/namespaces/-": {"type": "time"}, "/linux/timeOffsets": {"boottime": {"secs": 1000000}}}
    seen = bench.look(changes, "clock:7", "link:/proc/self/ns/time")
    expect(seen["clock:7"] > 1000000, f"CLOCK_BOOTTIME is {seen['clock:7']} s")
    expect(seen["link:/proc/self/ns/time"] != os.readlink("/proc/self/ns/time"), "the host's namespace")


@SUBJECT.must("sysctl", "config-linux.md#sysctl", "sysctl sets parameters of the container's namespaces.")
def sysctl(bench: Bench) -> None:
    path = "/proc/sys/kernel/msgmax"
    seen = bench.look({"/linux/sysctl": {"kernel.msgmax": "12345"}}, f"file:{path}")
    expect_equal(seen[f"file:{path}"].strip(), "12345", "kernel.msgmax inside")
    with open(path, encoding="utf-8") as file:
        expect(file.read().strip() != "12345", "kernel.msgmax of the host was changed")


@SUBJECT.callers("hostname-needs-namespace", "hostname without a new UTS namespace is refused.")
def hostname_needs_namespace(bench: Bench) -> None:
    listed = [{"type": name} for name in NAMESPACES if name != "uts"]
    bench.refused({"/linux/namespaces": listed, "/hostname": "conformance"})


@SUBJECT.callers("host-sysctl", "A sysctl that would change the host is refused.")
def host_sysctl(bench: Bench) -> None:
    with open("/proc/sys/kernel/panic", encoding="utf-8") as file:
        value = file.read().strip()
    bench.refused({"/linux/sysctl": {"kernel.panic": value}})
