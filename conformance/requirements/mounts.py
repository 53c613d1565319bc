"""config.md, mounts: order, places, sources, file systems and id mappings."""

import os

from conformance.bench import Bench
from conformance.bundle import NAMESPACES, JsonObject
from conformance.expect import expect, expect_equal
from conformance.mountinfo import mounts_of, topmost
from conformance.requirement import Subject

SUBJECT = Subject("mounts")
READ_ONLY = {"errno": 30}
MOUNTS = "file:/proc/self/mountinfo"
IDS = [{"containerID": 0, "hostID": 5000, "size": 1000}]
OTHER_IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
IDMAP = "config.md#linux-mount-options"


def tmpfs(destination: str, *options: str) -> JsonObject:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)}


def bound(destination: str, source: str, *options: str, **more: object) -> JsonObject:
    return {"destination": destination, "type": "none", "source": source, "options": list(options), **more}


@SUBJECT.must("order", "config.md#mounts", "Mounts are made in the order listed.")
def order(bench: Bench) -> None:
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    seen = bench.look({"/mounts": [proc, tmpfs("/tmp"), tmpfs("/tmp/inner")]}, MOUNTS)
    points = [mount.point for mount in mounts_of(seen[MOUNTS])]
    expect("/tmp/inner" in points, f"/tmp/inner is not mounted: {points}")
    expect(points.index("/tmp") < points.index("/tmp/inner"), f"wrong order: {points}")


@SUBJECT.must(
    "later-covers-earlier", "config.md#mounts", "A later mount covers an earlier one at the same place."
)
def later_covers_earlier(bench: Bench) -> None:
    covering = bound("/tmp", "rootfs/data", "bind")
    seen = bench.look({"/mounts/-": tmpfs("/tmp")}, "file:/tmp/inside/file")
    expect_equal(seen["file:/tmp/inside/file"], {"errno": 2}, "a file below an empty tmpfs")
    container = bench.container({"/mounts/-": tmpfs("/tmp")}, "file:/tmp/inside/file")
    container.rewrite({"/mounts/-": covering})
    seen = container.report()
    expect_equal(seen["file:/tmp/inside/file"], "content\n", "the file of the later mount")


@SUBJECT.must("relative-destination", "config.md#mounts", "A relative destination is taken from the root.")
def relative_destination(bench: Bench) -> None:
    seen = bench.look({"/mounts/-": tmpfs("tmp"), "/process/cwd": "/data"}, MOUNTS)
    expect_equal(topmost(seen[MOUNTS], "/tmp").kind, "tmpfs", "file system at /tmp")


@SUBJECT.must("missing-destination", "config.md#mounts", "A destination that does not exist is made.")
def missing_destination(bench: Bench) -> None:
    seen = bench.look({"/mounts/-": tmpfs("/new/place")}, MOUNTS)
    expect_equal(topmost(seen[MOUNTS], "/new/place").kind, "tmpfs", "file system at /new/place")


@SUBJECT.must("inside-root", "config.md#mounts", "A destination behind a link stays inside of the container.")
def inside_root(bench: Bench) -> None:
    container = bench.container({"/mounts/-": tmpfs("/link/place")}, MOUNTS)
    os.mkdir(f"{bench.directory}/outside")
    os.symlink(f"{bench.directory}/outside", f"{container.bundle}/rootfs/link")
    container.command("run", "--bundle", container.bundle, container.identifier)
    expect_equal(os.listdir(f"{bench.directory}/outside"), [], "made on the host")


@SUBJECT.must("bind", "config.md#mounts", "The option `bind` shows a directory of the host.")
def bind(bench: Bench) -> None:
    source = bench.bundle({}) + "/rootfs/data"
    seen = bench.look(
        {"/mounts/-": bound("/tmp", source, "bind", "ro")}, "file:/tmp/inside/file", "write:/tmp/inside/file"
    )
    expect_equal(seen["file:/tmp/inside/file"], "content\n", "the file behind the bind mount")
    expect_equal(seen["write:/tmp/inside/file"], READ_ONLY, "writing to a bind mount with `ro`")


@SUBJECT.must(
    "bind-relative", "config.md#mounts", "A relative source of a bind mount is relative to the bundle."
)
def bind_relative(bench: Bench) -> None:
    seen = bench.look({"/mounts/-": bound("/tmp", "rootfs/data", "bind")}, "file:/tmp/inside/file")
    expect_equal(seen["file:/tmp/inside/file"], "content\n", "the file behind the bind mount")


@SUBJECT.must("bind-file", "config.md#mounts", "A file is bound over a file, which is made if it is missing.")
def bind_file(bench: Bench) -> None:
    seen = bench.look({"/mounts/-": bound("/etc/new", "rootfs/hello", "bind")}, "file:/etc/new")
    expect_equal(seen["file:/etc/new"], "content\n", "the file behind the bind mount")


@SUBJECT.must(
    "bind-is-an-option", "config.md#mounts", "The options alone make a bind mount, whatever the type says."
)
def bind_is_an_option(bench: Bench) -> None:
    mount = {**bound("/tmp", "rootfs/data", "rbind"), "type": "tmpfs"}
    seen = bench.look({"/mounts/-": mount}, "file:/tmp/inside/file")
    expect_equal(seen["file:/tmp/inside/file"], "content\n", "the file behind the bind mount")


@SUBJECT.must("missing-source", "runtime.md#create", "A source that does not exist fails create.")
def missing_source(bench: Bench) -> None:
    bench.refused({"/mounts/-": bound("/tmp", "rootfs/nowhere", "bind")})


@SUBJECT.must(
    "unknown-type", "config.md#valid-values", "A file system that the kernel does not know fails create."
)
def unknown_type(bench: Bench) -> None:
    bench.refused({"/mounts/-": {"destination": "/tmp", "type": "conformance", "source": "none"}})


@SUBJECT.must(
    "rbind-recursive", IDMAP, "`rbind` shows what is mounted below its source, and `bind` does not."
)
def rbind_recursive(bench: Bench) -> None:
    for option, wanted in (("rbind", True), ("bind", False)):
        seen = bench.look({"/mounts/-": bound("/data", "/dev", option)}, MOUNTS)
        below = [mount.point for mount in mounts_of(seen[MOUNTS]) if mount.point.startswith("/data/")]
        expect_equal(bool(below), wanted, f"mounts below a mount with `{option}` ({below})")


@SUBJECT.should(
    "default-filesystems",
    "config-linux.md#default-filesystems",
    "/proc, /sys, /dev/pts and /dev/shm can be had.",
)
def default_filesystems(bench: Bench) -> None:
    wanted = {"/proc": "proc", "/sys": "sysfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs"}
    mounts = [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]
    mounts += [{"destination": place, "type": kind, "source": kind} for place, kind in wanted.items()]
    seen = bench.look({"/mounts": mounts}, MOUNTS)
    for place, kind in wanted.items():
        expect_equal(topmost(seen[MOUNTS], place).kind, kind, f"file system at {place}")


@SUBJECT.should("specific-options", IDMAP, "Options that are not known are passed to the file system.")
def specific_options(bench: Bench) -> None:
    seen = bench.look({"/mounts/-": tmpfs("/tmp", "size=64k", "mode=711", "uid=5")}, MOUNTS, "stat:/tmp")
    expect("size=64k" in topmost(seen[MOUNTS], "/tmp").data, f"options: {topmost(seen[MOUNTS], '/tmp').data}")
    expect_equal(oct(seen["stat:/tmp"]["mode"] & 0o7777), oct(0o711), "mode of the root of the tmpfs")
    expect_equal(seen["stat:/tmp"]["uid"], 5, "owner of the root of the tmpfs")
    bench.refused({"/mounts/-": tmpfs("/tmp", "conformance=1")})


@SUBJECT.callers("host-is-clean", "No mount of the container shows on the host.")
def host_is_clean(bench: Bench) -> None:
    container = bench.running({"/mounts/-": tmpfs("/tmp")})
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        leaked = [line for line in file if os.path.realpath(container.bundle) in line]
    expect(not leaked, f"mounts on the host: {leaked}")


# Id mappings of mounts.  A file of root on the host is seen as that of the mapping's first id.


def owner_seen(bench: Bench, mount: JsonObject, **changes: object) -> tuple[int, int]:
    """Owner of a file below the mount at /tmp; `changes` are further ones below /linux."""
    path = "stat:/tmp/inside/file"
    words = {f"/linux/{key}": value for key, value in changes.items()}
    seen = bench.look({"/mounts/-": mount, **words}, path)[path]
    expect("uid" in seen, f"the file cannot be looked at: {seen}")
    return seen["uid"], seen["gid"]


@SUBJECT.should("idmap", IDMAP, "`idmap` with mappings maps the owners of the files.")
def idmap(bench: Bench) -> None:
    source = bench.bundle({}) + "/rootfs/data"
    mount = bound("/tmp", source, "bind", "idmap", uidMappings=IDS, gidMappings=IDS)
    expect_equal(owner_seen(bench, mount), (5000, 5000), "owner seen through the mount")


@SUBJECT.should("idmap-relative", IDMAP, "`idmap` works for a source that is relative to the bundle.")
def idmap_relative(bench: Bench) -> None:
    mount = bound("/tmp", "rootfs/data", "bind", "idmap", uidMappings=IDS, gidMappings=IDS)
    expect_equal(owner_seen(bench, mount), (5000, 5000), "owner seen through the mount")


@SUBJECT.should(
    "idmap-by-mappings", "config.md#posix-platform-mounts", "Mappings alone map the owners as well."
)
def idmap_by_mappings(bench: Bench) -> None:
    mount = bound("/tmp", bench.bundle({}) + "/rootfs/data", "bind", uidMappings=IDS, gidMappings=IDS)
    expect_equal(owner_seen(bench, mount), (5000, 5000), "owner seen through the mount")


@SUBJECT.should("idmap-two", IDMAP, "Uids and gids are mapped by mappings of their own.")
def idmap_two(bench: Bench) -> None:
    gids = [{"containerID": 0, "hostID": 7000, "size": 10}]
    source = bench.bundle({}) + "/rootfs/data"
    mount = bound("/tmp", source, "bind", "idmap", uidMappings=IDS, gidMappings=gids)
    expect_equal(owner_seen(bench, mount), (5000, 7000), "owner seen through the mount")


@SUBJECT.should("ridmap", IDMAP, "`ridmap` maps the owners below the mount, too.")
def ridmap(bench: Bench) -> None:
    mount = bound("/data", bench.nested_tree(), "rbind", "ridmap", uidMappings=IDS, gidMappings=IDS)
    seen = bench.look({"/mounts/-": mount}, "stat:/data", "stat:/data/below")
    expect_equal(seen["stat:/data"]["uid"], 5000, "owner of the mount")
    expect_equal(seen["stat:/data/below"]["uid"], 5000, "owner of the mount below it")


@SUBJECT.must(
    "idmap-needs-both", "config.md#posix-platform-mounts", "uidMappings without gidMappings are an error."
)
def idmap_needs_both(bench: Bench) -> None:
    bench.refused({"/mounts/-": bound("/tmp", "rootfs/data", "bind", "idmap", uidMappings=IDS)})
    bench.refused({"/mounts/-": bound("/tmp", "rootfs/data", "bind", "idmap", gidMappings=IDS)})


@SUBJECT.must(
    "idmap-needs-mappings", IDMAP, "`idmap` without mappings and without a user namespace is an error."
)
def idmap_needs_mappings(bench: Bench) -> None:
    for option in ("idmap", "ridmap"):
        bench.refused({"/mounts/-": bound("/tmp", "rootfs/data", "rbind", option)})


@SUBJECT.must(
    "idmap-of-the-container",
    IDMAP,
    "`idmap` without mappings takes those of the user namespace, or is an error.",
)
def idmap_of_the_container(bench: Bench) -> None:
    changes = {
        "/linux/namespaces/-": {"type": "user"},
        "/linux/uidMappings": OTHER_IDS,
        "/linux/gidMappings": OTHER_IDS,
        "/mounts/-": bound("/tmp", bench.bundle({}) + "/rootfs/data", "bind", "idmap"),
    }
    container = bench.container(changes, "stat:/tmp/inside/file")
    result = container.command("run", "--bundle", container.bundle, container.identifier)
    if result.returncode == 0:
        expect('"uid": 0, "gid": 0' in result.stdout, "files of root are not root's in the user namespace")


@SUBJECT.should("idmap-in-userns", IDMAP, "`idmap` with mappings works in a user namespace.")
def idmap_in_userns(bench: Bench) -> None:
    """The mount's host ids are those of the host, which the container's own mapping then shows."""
    maps = [{"containerID": 0, "hostID": 100007, "size": 10}]
    mount = bound(
        "/tmp", bench.bundle({}) + "/rootfs/data", "bind", "idmap", uidMappings=maps, gidMappings=maps
    )
    namespaces = [{"type": name} for name in (*NAMESPACES, "user")]
    owner = owner_seen(bench, mount, namespaces=namespaces, uidMappings=OTHER_IDS, gidMappings=OTHER_IDS)
    expect_equal(owner, (7, 7), "owner seen in the container")
