"""config-linux.md: network devices, tried in a network namespace that stands for the host's."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("network-devices")
ANCHOR = "config-linux.md#network-devices"
LIFECYCLE = "config-linux.md#namespace-lifecycle-and-container-termination"
UP = 1


class Host:
    """A network namespace in which the runtime runs, so that nothing of the machine's own can be moved."""

    def __init__(self, bench: Bench) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "120"], stdin=subprocess.DEVNULL)
        self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        own = os.readlink("/proc/self/ns/net")
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own and time.monotonic() < end:
            time.sleep(0.01)
        bench.prefix = self.inside
        self.ip("link", "add", "cable0", "type", "veth", "peer", "name", "cable1")
        self.ip("address", "add", "192.0.2.7/24", "dev", "cable0")
        self.ip("address", "add", "2001:db8::7/64", "dev", "cable0", "nodad")

    def ip(self, *words: str) -> str:
        command = [*self.inside, "ip", *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        need(
            result.returncode == 0,
            f"the machine has no way to `ip {' '.join(words)}`: {result.stderr.strip()}",
        )
        return result.stdout

    def devices(self) -> list[str]:
        shown = self.ip("-oneline", "link", "show").splitlines()
        return [line.split(": ")[1].partition("@")[0] for line in shown]


@contextlib.contextmanager
def hosted(bench: Bench) -> Iterator[Host]:
    for program in ("ip", "unshare", "nsenter"):
        need(
            shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is not None,
            f"the machine has no {program}",
        )
    host = Host(bench)
    try:
        yield host
    finally:
        for container in bench.containers:
            container.command("delete", "--force", container.identifier)
        bench.prefix = ()
        host.holder.kill()
        host.holder.wait()


def moved(name: str = "", device: str = "cable0") -> JsonObject:
    return {"/linux/netDevices": {device: {"name": name} if name else {}}}


@SUBJECT.must("moved", ANCHOR, "A device is in the container, and no longer on the host.")
def device_moved(bench: Bench) -> None:
    with hosted(bench) as host:
        container = bench.running(moved())
        expect("cable0" not in host.devices(), "the device is still on the host")
        expect(
            "errno" not in container.exec("net:cable0")["net:cable0"], "the device is not in the container"
        )


@SUBJECT.must("renamed", ANCHOR, "A device has the name that it is given.")
def device_renamed(bench: Bench) -> None:
    with hosted(bench):
        seen = bench.look(moved("inside0"), "net:inside0", "net:cable0")
        expect("errno" not in seen["net:inside0"], "the device does not have its new name")
        expect("errno" in seen["net:cable0"], "the device has its old name")


@SUBJECT.must("up", ANCHOR, "A device is up, whatever it was before.")
def device_up(bench: Bench) -> None:
    with hosted(bench):
        expect_equal(bench.look(moved(), "net:cable0")["net:cable0"].get("flags", 0) & UP, UP, "flag IFF_UP")


@SUBJECT.must("addresses", ANCHOR, "A device keeps its permanent global addresses of every family.")
def device_addresses(bench: Bench) -> None:
    with hosted(bench):
        seen = bench.look(moved(), "net:cable0", "file:/proc/net/if_inet6")
        expect_equal(seen["net:cable0"].get("address"), "192.0.2.7", "IPv4 address")
        expect(
            "20010db8000000000000000000000007" in seen["file:/proc/net/if_inet6"],
            "the IPv6 address is not there",
        )


@SUBJECT.must("attributes", ANCHOR, "A device keeps its other attributes: MTU and hardware address.")
def device_attributes(bench: Bench) -> None:
    with hosted(bench) as host:
        host.ip("link", "set", "cable0", "mtu", "1234", "address", "02:00:00:00:00:07")
        mount = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}
        places = ["file:/sys/class/net/cable0/mtu", "file:/sys/class/net/cable0/address"]
        seen = bench.look({**moved(), "/mounts/-": mount}, *places)
        expect_equal(
            [str(seen[place]).strip() for place in places], ["1234", "02:00:00:00:00:07"], "MTU and address"
        )


@SUBJECT.must("taken", ANCHOR, "A name that is taken in the container is an error.")
def name_taken(bench: Bench) -> None:
    with hosted(bench) as host:
        bench.refused(moved("lo"))
        expect("cable0" in host.devices(), "the device is gone from the host though create failed")


@SUBJECT.must("template", ANCHOR, "A name with %d gets a number from the kernel.")
def name_template(bench: Bench) -> None:
    with hosted(bench):
        seen = bench.look(moved("box%d"), "net:box0")
        expect("errno" not in seen["net:box0"], "there is no device called box0")


@SUBJECT.must("missing", ANCHOR, "A device that is not there is an error.")
def device_missing(bench: Bench) -> None:
    with hosted(bench):
        bench.refused(moved(device="nowhere0"))


@SUBJECT.must(
    "needs-namespace", ANCHOR, "A device for a container without a network namespace of its own is an error."
)
def needs_namespace(bench: Bench) -> None:
    with hosted(bench):
        listed = [{"type": name} for name in ("pid", "mount", "ipc", "uts")]
        bench.refused({**moved(), "/linux/namespaces": listed})


@SUBJECT.must(
    "not-moved-back", LIFECYCLE, "A device is not taken out of the namespace before that is deleted."
)
def not_moved_back(bench: Bench) -> None:
    """The namespace is held by somebody else, so that it outlives the container."""
    with hosted(bench) as host:
        listed = [{"type": name} for name in ("pid", "mount", "ipc", "uts")]
        kept = subprocess.Popen(["unshare", "--net", "sleep", "60"], stdin=subprocess.DEVNULL)
        try:
            path = f"/proc/{kept.pid}/ns/net"
            end = time.monotonic() + 10
            while os.readlink(path) == os.readlink("/proc/self/ns/net") and time.monotonic() < end:
                time.sleep(0.01)
            changes = {**moved(), "/linux/namespaces": [*listed, {"type": "network", "path": path}]}
            container = bench.running(changes)
            container.command("delete", "--force", container.identifier)
            expect("cable0" not in host.devices(), "the device is back on the host")
            inside = ["nsenter", f"--net={path}", "ip", "link", "show", "cable0"]
            expect(
                subprocess.run(inside, capture_output=True, check=False).returncode == 0, "the device is gone"
            )
        finally:
            kept.kill()
            kept.wait()
