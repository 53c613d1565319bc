"""config.md and config-linux.md: root, mounts, devices, masked and read-only paths."""

import os

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.requirement import Subject

SUBJECT = Subject("filesystem")
READ_ONLY = {"errno": 30}


def options_of(mountinfo: str, point: str) -> tuple[str, str, str]:
    """Options of the mount, type, and options of the file system, of the topmost mount at `point`."""
    found = ("", "", "")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == point:
            found = (before.split()[5], after.split()[0], after.split()[2])
    return found


@SUBJECT.must("readonly-root", "config.md#root", "With root.readonly nothing can be written to the root.")
def readonly_root(bench: Bench) -> None:
    seen = bench.look({"/root/readonly": True}, "write:/new", "write:/hello")
    expect_equal(seen["write:/new"], READ_ONLY, "making /new")
    expect_equal(seen["write:/hello"], READ_ONLY, "opening /hello for writing")


@SUBJECT.must("writable-root", "config.md#root", "Without root.readonly the root can be written to.")
def writable_root(bench: Bench) -> None:
    expect("result" in bench.look({}, "write:/new")["write:/new"], "/new could not be made")


@SUBJECT.must("root-exists", "config.md#root", "A root.path that does not exist is an error.")
def root_exists(bench: Bench) -> None:
    bench.refused({"/root/path": "nowhere"})


@SUBJECT.must("mount-order", "config.md#mounts", "Mounts are made in the order listed.")
def mount_order(bench: Bench) -> None:
    mounts = [{"destination": path, "type": "tmpfs", "source": "tmpfs"} for path in ("/tmp", "/tmp/inner")]
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    seen = bench.look({"/mounts": [proc, *mounts]}, "file:/proc/self/mountinfo")["file:/proc/self/mountinfo"]
    points = [line.split()[4] for line in seen.splitlines()]
    expect("/tmp/inner" in points, f"/tmp/inner is not mounted: {points}")
    expect(points.index("/tmp") < points.index("/tmp/inner"), f"wrong order: {points}")


@SUBJECT.must(
    "mount-options", "config.md#linux-mounts", "Options are flags of the mount and data of the file system."
)
def mount_options(bench: Bench) -> None:
    options = ["nosuid", "nodev", "noexec", "ro", "mode=711", "size=64k"]
    mount = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}
    seen = bench.look({"/mounts/-": mount}, "file:/proc/self/mountinfo", "stat:/tmp", "write:/tmp/x")
    flags, kind, data = options_of(seen["file:/proc/self/mountinfo"], "/tmp")
    expect({"nosuid", "nodev", "noexec"} <= set(flags.split(",")), f"options of the mount: {flags}")
    expect_equal(kind, "tmpfs", "type")
    expect("size=64k" in data, f"options of the file system: {data}")
    expect_equal(oct(seen["stat:/tmp"]["mode"] & 0o7777), oct(0o711), "mode of the root of the tmpfs")
    expect_equal(seen["write:/tmp/x"], READ_ONLY, "writing to a mount with `ro`")


@SUBJECT.must("bind", "config.md#linux-mounts", "The option `bind` shows a directory of the host.")
def bind(bench: Bench) -> None:
    source = bench.bundle({}) + "/rootfs/data"
    mount = {"destination": "/tmp", "type": "none", "source": source, "options": ["bind", "ro"]}
    seen = bench.look({"/mounts/-": mount}, "file:/tmp/inside/file", "write:/tmp/inside/file")
    expect_equal(seen["file:/tmp/inside/file"], "content\n", "the file behind the bind mount")
    expect_equal(seen["write:/tmp/inside/file"], READ_ONLY, "writing to a bind mount with `ro`")


@SUBJECT.must(
    "bind-relative", "config.md#mounts", "A relative source of a bind mount is relative to the bundle."
)
def bind_relative(bench: Bench) -> None:
    mount = {"destination": "/tmp", "type": "bind", "source": "rootfs/data", "options": ["bind"]}
    seen = bench.look({"/mounts/-": mount}, "file:/tmp/inside/file")
    expect_equal(seen["file:/tmp/inside/file"], "content\n", "the file behind the bind mount")


@SUBJECT.must(
    "recursive-readonly", "config.md#linux-mounts", "`rro` makes a mount read-only with all below it."
)
def recursive_readonly(bench: Bench) -> None:
    mounts = [
        {"destination": "/tmp", "type": "bind", "source": "rootfs/data", "options": ["rbind", "rro"]},
        {"destination": "/data", "type": "bind", "source": "rootfs/data", "options": ["rbind", "rnosuid"]},
    ]
    seen = bench.look({"/mounts/-": mounts[0]}, "write:/tmp/inside/file", "file:/proc/self/mountinfo")
    expect_equal(seen["write:/tmp/inside/file"], READ_ONLY, "writing below a mount with `rro`")
    seen = bench.look({"/mounts/-": mounts[1]}, "file:/proc/self/mountinfo")
    flags, _, _ = options_of(seen["file:/proc/self/mountinfo"], "/data")
    expect("nosuid" in flags.split(","), f"`rnosuid` gives the options {flags}")


@SUBJECT.must(
    "idmap", "config.md#posix-platform-mounts", "uidMappings of a bind mount map the owners of its files."
)
def idmap(bench: Bench) -> None:
    maps = [{"containerID": 0, "hostID": 5000, "size": 1000}]
    mount = {"destination": "/tmp", "type": "bind", "source": "rootfs/data", "options": ["bind", "idmap"]}
    seen = bench.look(
        {"/mounts/-": {**mount, "uidMappings": maps, "gidMappings": maps}}, "stat:/tmp/inside/file"
    )
    owner = (seen["stat:/tmp/inside/file"]["uid"], seen["stat:/tmp/inside/file"]["gid"])
    expect_equal(owner, (5000, 5000), "owner seen through the mount")


@SUBJECT.must("default-devices", "config-linux.md#default-devices", "The default devices are there.")
def default_devices(bench: Bench) -> None:
    numbers = {
        "null": (1, 3),
        "zero": (1, 5),
        "full": (1, 7),
        "random": (1, 8),
        "urandom": (1, 9),
        "tty": (5, 0),
    }
    seen = bench.look({}, *(f"stat:/dev/{name}" for name in numbers), "link:/dev/ptmx")
    for name, number in numbers.items():
        status = seen[f"stat:/dev/{name}"]
        expect_equal((status.get("major"), status.get("minor")), number, f"/dev/{name}")
        expect_equal(oct(status["mode"] & 0o777), oct(0o666), f"mode of /dev/{name}")
    expect(str(seen["link:/dev/ptmx"]).endswith("pts/ptmx"), f"/dev/ptmx is {seen['link:/dev/ptmx']!r}")


@SUBJECT.must(
    "dev-links", "runtime-linux.md#dev-symbolic-links", "/dev/fd, stdin, stdout and stderr are links."
)
def dev_links(bench: Bench) -> None:
    wanted = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    seen = bench.look({}, *(f"link:/dev/{name}" for name in wanted))
    for name, target in wanted.items():
        expect_equal(seen[f"link:/dev/{name}"], target, f"/dev/{name}")


@SUBJECT.must(
    "devices", "config-linux.md#devices", "Listed devices have type, number, mode and owner as said."
)
def devices(bench: Bench) -> None:
    device = {
        "path": "/dev/sub/mine",
        "type": "c",
        "major": 1,
        "minor": 3,
        "fileMode": 0o640,
        "uid": 11,
        "gid": 12,
    }
    status = bench.look({"/linux/devices": [device]}, "stat:/dev/sub/mine")["stat:/dev/sub/mine"]
    expect_equal((status.get("major"), status.get("minor")), (1, 3), "number")
    expect_equal(
        (oct(status["mode"]), status["uid"], status["gid"]), (oct(0o20640), 11, 12), "mode and owner"
    )


@SUBJECT.must("masked", "config-linux.md#masked-paths", "Masked paths cannot be read.")
def masked(bench: Bench) -> None:
    seen = bench.look({"/linux/maskedPaths": ["/hello", "/data", "/missing"]}, "file:/hello", "list:/data")
    expect_equal(seen["file:/hello"], "", "content of a masked file")
    expect_equal(seen["list:/data"], [], "content of a masked directory")


@SUBJECT.must(
    "masked-absolute", "config-linux.md#masked-paths", "A relative masked path is not taken from the cwd."
)
def masked_absolute(bench: Bench) -> None:
    container = bench.container(
        {"/linux/maskedPaths": ["hello"], "/process/cwd": "/data"}, "file:/data/inside/file"
    )
    result = bench.command("run", "--bundle", container.bundle, container.identifier)
    expect(result.returncode != 0 or "content" in result.stdout, "a file of another name was masked")


@SUBJECT.must("readonly-paths", "config-linux.md#readonly-paths", "Read-only paths cannot be written to.")
def readonly_paths(bench: Bench) -> None:
    seen = bench.look(
        {"/linux/readonlyPaths": ["/data"]}, "write:/data/inside/file", "file:/data/inside/file"
    )
    expect_equal(seen["write:/data/inside/file"], READ_ONLY, "writing below a read-only path")
    expect_equal(seen["file:/data/inside/file"], "content\n", "reading below a read-only path")


@SUBJECT.must(
    "propagation", "config-linux.md#rootfs-mount-propagation", "rootfsPropagation is that of the root."
)
def propagation(bench: Bench) -> None:
    seen = bench.look({"/linux/rootfsPropagation": "unbindable"}, "file:/proc/self/mountinfo")
    root = next(line for line in seen["file:/proc/self/mountinfo"].splitlines() if line.split()[4] == "/")
    expect("unbindable" in root.partition(" - ")[0].split(), f"the root's mount is {root}")


@SUBJECT.callers("host-is-clean", "No mount of the container shows on the host.")
def host_is_clean(bench: Bench) -> None:
    container = bench.running({})
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        leaked = [line for line in file if os.path.realpath(container.bundle) in line]
    expect(not leaked, f"mounts on the host: {leaked}")
