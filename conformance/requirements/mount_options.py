"""config.md, Linux mount options: each row of the specification's table, by what it does to a mount."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from conformance.bench import Bench
from conformance.container import Container
from conformance.expect import expect, expect_equal
from conformance.mountinfo import mounts_of, topmost
from conformance.requirement import Subject
from conformance.requirements.mounts import MOUNTS, bound, tmpfs

SUBJECT = Subject("mount-options")
ANCHOR = "config.md#linux-mount-options"
ATIME = frozenset({"noatime", "relatime"})


@dataclass(frozen=True)
class Row:
    """An option, tried on a tmpfs after `before`: what must and what must not be among the flags of the mount."""

    name: str
    before: Sequence[str] = ()
    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    of_data: bool = False  # the flag is one of the file system, not of the mount


def sets(name: str, *, of_data: bool = False) -> Row:
    return Row(name, present=frozenset({name}), of_data=of_data)


def clears(name: str, *others: str, of_data: bool = False) -> Row:
    return Row(name, before=others, absent=frozenset(others), of_data=of_data)


ROWS = (
    clears("async", "sync", of_data=True),
    clears("atime", "noatime"),
    Row("defaults"),
    clears("dev", "nodev"),
    clears("diratime", "nodiratime"),
    sets("dirsync", of_data=True),
    clears("exec", "noexec"),
    Row("iversion"),  # shows nowhere; the option must be known
    sets("lazytime", of_data=True),
    Row("loud", before=("silent",)),
    sets("noatime"),
    sets("nodev"),
    sets("nodiratime"),
    sets("noexec"),
    Row("noiversion"),
    clears("nolazytime", "lazytime", of_data=True),
    Row("norelatime"),
    Row("nostrictatime", before=("strictatime",), absent=frozenset({"noatime"})),
    sets("nosuid"),
    sets("relatime"),
    sets("ro"),
    clears("rw", "ro"),
    Row("silent"),
    Row("strictatime", absent=ATIME),
    clears("suid", "nosuid"),
    sets("sync", of_data=True),
)
SHOULD_ROWS = (sets("nosymfollow"), clears("symfollow", "nosymfollow"))

# `before` are the options of the mount below, as the host has made it.
RECURSIVE = (
    Row("rro", present=frozenset({"ro"})),
    clears("rrw", "ro"),
    Row("rnosuid", present=frozenset({"nosuid"})),
    clears("rsuid", "nosuid"),
    Row("rnodev", present=frozenset({"nodev"})),
    clears("rdev", "nodev"),
    Row("rnoexec", present=frozenset({"noexec"})),
    clears("rexec", "noexec"),
    Row("rnodiratime", present=frozenset({"nodiratime"})),
    clears("rdiratime", "nodiratime"),
    Row("rnosymfollow", present=frozenset({"nosymfollow"})),
    clears("rsymfollow", "nosymfollow"),
    Row("rnoatime", present=frozenset({"noatime"})),
    clears("ratime", "noatime"),
    Row("rrelatime", before=("noatime",), present=frozenset({"relatime"})),
    Row("rnorelatime", absent=frozenset({"noatime"})),
    Row("rstrictatime", before=("noatime",), absent=ATIME),
    Row("rnostrictatime"),
)
PROPAGATION = {
    "private": frozenset[str](),
    "shared": frozenset({"shared"}),
    "slave": frozenset({"master"}),
    "unbindable": frozenset({"unbindable"}),
}


def on_tmpfs(row: Row, bench: Bench) -> None:
    seen = bench.look({"/mounts/-": tmpfs("/tmp", *row.before, row.name)}, MOUNTS)
    mount = topmost(seen[MOUNTS], "/tmp")
    flags = mount.data if row.of_data else mount.flags
    expect(row.present <= flags, f"with `{row.name}` the flags are {sorted(flags)}")
    expect(
        not row.absent & flags, f"`{row.name}` after {list(row.before)} leaves {sorted(row.absent & flags)}"
    )
    known = row.of_data or row.name in ("ro", "rw")
    expect(known or row.name not in mount.data, f"`{row.name}` was passed to the file system")


def on_a_tree(row: Row, bench: Bench) -> None:
    seen = bench.look(
        {"/mounts/-": bound("/data", bench.nested_tree(*row.before), "rbind", row.name)}, MOUNTS
    )
    for point in ("/data", "/data/below"):
        flags = topmost(seen[MOUNTS], point).flags
        expect(row.present <= flags, f"with `{row.name}` the flags of {point} are {sorted(flags)}")
        expect(not row.absent & flags, f"with `{row.name}` the flags of {point} are {sorted(flags)}")


def propagates(name: str, bench: Bench, *, recursive: bool) -> None:
    option = f"r{name}" if recursive else name
    container = bench.created({"/mounts/-": bound("/data", "/dev", "rbind", option)})
    seen = mounts_seen_by(container)
    tags = {mount.point: mount.tags for mount in mounts_of(seen) if mount.point.startswith("/data")}
    wanted = PROPAGATION[name]
    if name == "slave":  # of nobody, if the host's mount is private
        expect("shared" not in tags["/data"], f"the mount is {sorted(tags['/data'])}")
        return
    expect_equal(tags["/data"] & {"shared", "unbindable"}, wanted, "propagation of the mount")
    if recursive:
        below = {point: found & {"shared", "unbindable"} for point, found in tags.items()}
        expect(all(found == wanted for found in below.values()), f"propagation of the tree: {below}")


def mounts_seen_by(container: Container) -> str:
    with open(f"/proc/{container.pid()}/mountinfo", encoding="utf-8") as file:
        return file.read()


for _row in ROWS:
    SUBJECT.must(_row.name, ANCHOR, f"The option `{_row.name}` is known and has its effect.")(
        partial(on_tmpfs, _row)
    )
for _row in SHOULD_ROWS:
    SUBJECT.should(_row.name, ANCHOR, f"The option `{_row.name}` is known and has its effect.")(
        partial(on_tmpfs, _row)
    )
for _row in RECURSIVE:
    SUBJECT.should(
        _row.name, ANCHOR, f"The option `{_row.name}` is known, and has its effect on a whole tree."
    )(partial(on_a_tree, _row))
for _name in PROPAGATION:
    SUBJECT.must(_name, ANCHOR, f"The option `{_name}` sets the propagation of a mount.")(
        partial(propagates, _name, recursive=False)
    )
    SUBJECT.must(f"r{_name}", ANCHOR, f"The option `r{_name}` sets the propagation of a tree.")(
        partial(propagates, _name, recursive=True)
    )


@SUBJECT.must("remount", ANCHOR, "The option `remount` changes the flags of what is mounted there.")
def remount(bench: Bench) -> None:
    container = bench.container({"/mounts/-": tmpfs("/tmp")}, MOUNTS, "write:/tmp/new")
    container.rewrite({"/mounts/-": tmpfs("/tmp", "remount", "ro")})
    seen = container.report()
    expect("ro" in topmost(seen[MOUNTS], "/tmp").flags | topmost(seen[MOUNTS], "/tmp").data, "still writable")
    expect_equal(seen["write:/tmp/new"], {"errno": 30}, "writing after the remount")
    expect_equal(sum(one.point == "/tmp" for one in mounts_of(seen[MOUNTS])), 1, "mounts at /tmp")


@SUBJECT.must("bind-flags", ANCHOR, "Flags of a bind mount are set, and not the source's.")
def bind_flags(bench: Bench) -> None:
    mount = bound("/data", "rootfs/data", "bind", "ro", "nosuid", "nodev", "noexec")
    container = bench.container({"/mounts/-": mount}, MOUNTS)
    seen = container.report()
    flags = topmost(seen[MOUNTS], "/data").flags
    expect({"ro", "nosuid", "nodev", "noexec"} <= flags, f"flags of the mount: {sorted(flags)}")
    expect(os.access(f"{container.bundle}/rootfs/data", os.W_OK), "the source became read-only")


@SUBJECT.must("effects", ANCHOR, "`noexec`, `nodev` and `ro` are not only shown but in force.")
def effects(bench: Bench) -> None:
    mounts = [tmpfs("/tmp", "nodev", "ro"), bound("/data", "/dev", "bind", "nodev")]
    container = bench.container({}, "open:/data/null", "write:/tmp/new")
    container.rewrite({"/mounts/-": mounts[0]})
    container.rewrite({"/mounts/-": mounts[1]})
    seen = container.report()
    expect_equal(seen["open:/data/null"], {"errno": 13}, "opening a device on a mount with `nodev`")
    expect_equal(seen["write:/tmp/new"], {"errno": 30}, "writing to a mount with `ro`")
