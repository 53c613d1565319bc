"""config-linux.md: devices in the container, and which of them can be used."""

import os
import stat

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.expect import expect, expect_equal
from conformance.requirement import Subject
from conformance.requirements.namespaces import MAPPED

SUBJECT = Subject("devices")
ANCHOR = "config-linux.md#devices"
DEFAULTS = "config-linux.md#default-devices"
ALLOWED = "config-linux.md#allowed-device-list"
NUMBERS = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
OTHER = (1, 250)  # a number without driver: who may open it is told that there is none
DENIED, ALLOWED_BUT_MISSING = {"errno": 1}, {"errno": 6}


def device(path: str, kind: str = "c", number: tuple[int, int] = (1, 3), **more: int) -> JsonObject:
    return {"path": path, "type": kind, "major": number[0], "minor": number[1], **more}


def status_of(bench: Bench, entry: JsonObject) -> JsonObject:
    question = f"stat:{entry['path']}"
    found: JsonObject = bench.look({"/linux/devices": [entry]}, question)[question]
    expect("mode" in found, f"{entry['path']} is not there: {found}")
    return found


@SUBJECT.must("defaults", DEFAULTS, "The default devices are there, for everybody to read and write.")
def defaults(bench: Bench) -> None:
    seen = bench.look({}, *(f"stat:/dev/{name}" for name in NUMBERS))
    for name, number in NUMBERS.items():
        status = seen[f"stat:/dev/{name}"]
        expect_equal((status.get("major"), status.get("minor")), number, f"/dev/{name}")
        expect_equal(oct(status["mode"] & 0o777), oct(0o666), f"mode of /dev/{name}")


@SUBJECT.must("defaults-usable", DEFAULTS, "The default devices can be opened, by an ordinary user as well.")
def defaults_usable(bench: Bench) -> None:
    names = [name for name in NUMBERS if name != "tty"]
    rules = [{"allow": False, "access": "rwm"}]
    changes = {"/linux/resources": {"devices": rules}, "/process/user": {"uid": 5, "gid": 5}}
    seen = bench.look(changes, *(f"open:/dev/{name}" for name in names), "write:/dev/null")
    for name in names:
        expect("result" in seen[f"open:/dev/{name}"], f"opening /dev/{name}: {seen[f'open:/dev/{name}']}")
    expect("result" in seen["write:/dev/null"], "writing to /dev/null")


@SUBJECT.must("defaults-in-userns", DEFAULTS, "The default devices are there in a user namespace, too.")
def defaults_in_userns(bench: Bench) -> None:
    seen = bench.look({"/linux/namespaces/-": {"type": "user"}, **MAPPED}, "stat:/dev/null", "open:/dev/null")
    status = seen["stat:/dev/null"]
    expect_equal((status.get("major"), status.get("minor")), (1, 3), "/dev/null")
    expect("result" in seen["open:/dev/null"], "opening /dev/null")


@SUBJECT.must("ptmx", DEFAULTS, "/dev/ptmx is that of the container's /dev/pts.")
def ptmx(bench: Bench) -> None:
    seen = bench.look({}, "link:/dev/ptmx", "stat:/dev/ptmx", "stat:/dev/pts/ptmx", "open:/dev/ptmx")
    linked = str(seen["link:/dev/ptmx"]).endswith("pts/ptmx")
    expect(
        linked or seen["stat:/dev/ptmx"] == seen["stat:/dev/pts/ptmx"],
        f"/dev/ptmx is {seen['link:/dev/ptmx']!r}",
    )
    expect("result" in seen["open:/dev/ptmx"], f"opening /dev/ptmx: {seen['open:/dev/ptmx']}")


@SUBJECT.must("links", "runtime-linux.md#dev-symbolic-links", "/dev/fd, stdin, stdout and stderr are links.")
def links(bench: Bench) -> None:
    wanted = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    seen = bench.look({}, *(f"link:/dev/{name}" for name in wanted))
    for name, target in wanted.items():
        expect_equal(seen[f"link:/dev/{name}"], f"/proc/self/{target}", f"/dev/{name}")


@SUBJECT.must("character", ANCHOR, "A listed character device has number, mode and owner as said.")
def character(bench: Bench) -> None:
    status = status_of(bench, device("/dev/sub/mine", fileMode=0o640, uid=11, gid=12))
    expect_equal((status.get("major"), status.get("minor")), (1, 3), "number")
    seen = oct(status["mode"]), status["uid"], status["gid"]
    expect_equal(seen, (oct(stat.S_IFCHR | 0o640), 11, 12), "mode and owner")


@SUBJECT.must("block", ANCHOR, "A listed block device is one.")
def block(bench: Bench) -> None:
    status = status_of(bench, device("/dev/mine", "b", (7, 200)))
    expect(stat.S_ISBLK(status["mode"]), f"mode is {status['mode']:o}")
    expect_equal((status["major"], status["minor"]), (7, 200), "number")


@SUBJECT.must("unbuffered", ANCHOR, "The type u is a character device.")
def unbuffered(bench: Bench) -> None:
    status = status_of(bench, device("/dev/mine", "u"))
    expect(stat.S_ISCHR(status["mode"]), f"mode is {status['mode']:o}")


@SUBJECT.must("fifo", ANCHOR, "The type p is a named pipe, and needs no number.")
def fifo(bench: Bench) -> None:
    status = status_of(bench, {"path": "/dev/mine", "type": "p", "fileMode": 0o620})
    expect(stat.S_ISFIFO(status["mode"]), f"mode is {status['mode']:o}")


@SUBJECT.must("anywhere", ANCHOR, "A device may be outside of /dev.")
def anywhere(bench: Bench) -> None:
    status = status_of(bench, device("/data/new/mine"))
    expect_equal((status["major"], status["minor"]), (1, 3), "number")


@SUBJECT.must("conflict", ANCHOR, "A file that is there and is not the device is an error.")
def conflict(bench: Bench) -> None:
    bench.refused({"/linux/devices": [device("/hello")]})


@SUBJECT.must("conflict-number", ANCHOR, "A device that is there with another number is an error.")
def conflict_number(bench: Bench) -> None:
    container = bench.container({"/linux/devices": [device("/data/mine")]})
    os.mknod(f"{container.bundle}/rootfs/data/mine", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    result = container.command("create", "--bundle", container.bundle, container.identifier)
    expect(result.returncode != 0, "`create` took another device for it")


@SUBJECT.must("already-there", ANCHOR, "A device that is there with the right number will do.")
def already_there(bench: Bench) -> None:
    container = bench.container({"/linux/devices": [device("/data/mine")]}, "stat:/data/mine")
    os.mknod(f"{container.bundle}/rootfs/data/mine", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    expect_equal(container.report()["stat:/data/mine"]["minor"], 3, "minor number")


@SUBJECT.must("unknown-type", "config.md#valid-values", "A type of device that does not exist is an error.")
def unknown_type(bench: Bench) -> None:
    bench.refused({"/linux/devices": [device("/dev/mine", "x")]})


@SUBJECT.must("in-userns", ANCHOR, "A listed device is there in a user namespace, too.")
def in_userns(bench: Bench) -> None:
    entry = device("/dev/kmsg", "c", (1, 11))
    changes = {"/linux/namespaces/-": {"type": "user"}, **MAPPED, "/linux/devices": [entry]}
    status = bench.look(changes, "stat:/dev/kmsg")["stat:/dev/kmsg"]
    expect_equal((status.get("major"), status.get("minor")), (1, 11), "number")


# The allowed device list.  The last entry that matches decides.


def opened(bench: Bench, *rules: JsonObject) -> tuple[JsonObject, JsonObject]:
    """What opening a device for reading and for writing answers under the rules, which follow a denial of all."""
    changes = {
        "/linux/devices": [device("/dev/mine", "c", OTHER, fileMode=0o666)],
        "/linux/resources": {"devices": [{"allow": False, "access": "rwm"}, *rules]},
    }
    seen = bench.look(changes, "open:/dev/mine", "write:/dev/mine")
    return seen["open:/dev/mine"], seen["write:/dev/mine"]


def rule(access: str, *, allow: bool = True) -> JsonObject:
    return {"allow": allow, "type": "c", "major": OTHER[0], "minor": OTHER[1], "access": access}


@SUBJECT.must("denied", ALLOWED, "A device that is not allowed cannot be opened.")
def denied(bench: Bench) -> None:
    expect_equal(opened(bench), (DENIED, DENIED), "opening for reading and for writing")


@SUBJECT.must("allowed", ALLOWED, "A device that is allowed can be opened.")
def allowed(bench: Bench) -> None:
    reading, writing = opened(bench, rule("rwm"))
    expect_equal(reading, ALLOWED_BUT_MISSING, "opening for reading")
    expect_equal(writing, ALLOWED_BUT_MISSING, "opening for writing")


@SUBJECT.must("access", ALLOWED, "A device that may be read may not be written.")
def access(bench: Bench) -> None:
    reading, writing = opened(bench, rule("r"))
    expect_equal(reading, ALLOWED_BUT_MISSING, "opening for reading")
    expect_equal(writing, DENIED, "opening for writing")


@SUBJECT.must("order", ALLOWED, "The entries of the list are applied in their order.")
def order(bench: Bench) -> None:
    expect_equal(
        opened(bench, rule("rwm"), rule("rwm", allow=False)), (DENIED, DENIED), "allowed, then denied"
    )
    reading, _ = opened(bench, rule("rwm", allow=False), rule("rwm"))
    expect_equal(reading, ALLOWED_BUT_MISSING, "denied, then allowed")


@SUBJECT.must("wildcard", ALLOWED, "A number that is not given means all.")
def wildcard(bench: Bench) -> None:
    reading, _ = opened(bench, {"allow": True, "type": "c", "major": OTHER[0], "access": "rwm"})
    expect_equal(reading, ALLOWED_BUT_MISSING, "allowed by the major number alone")


@SUBJECT.must("make", ALLOWED, "Making nodes needs the access m.")
def make(bench: Bench) -> None:
    capabilities = {name: ["CAP_MKNOD"] for name in ("bounding", "permitted", "effective")}
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "m"}]
    changes = {"/process/capabilities": capabilities, "/linux/resources": {"devices": rules}}
    expect_equal(bench.look(changes, "mknod:/tmp/made")["mknod:/tmp/made"], {"result": 0}, "making a node")
