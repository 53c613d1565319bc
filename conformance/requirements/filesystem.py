"""config.md and config-linux.md: root, mounts, devices, masked and read-only paths."""

import os
from functools import partial

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.mountinfo import mounts_of, topmost
from conformance.requirement import Subject

SUBJECT = Subject("filesystem")
READ_ONLY = {"errno": 30}


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
    "readonly-absolute",
    "config-linux.md#readonly-paths",
    "A relative read-only path is not taken from the cwd.",
)
def readonly_absolute(bench: Bench) -> None:
    changes = {"/linux/readonlyPaths": ["inside"], "/process/cwd": "/data"}
    result = bench.outcome(changes, "write:/data/inside/file")
    written = '"write:/data/inside/file": {"result"' in result.stdout
    expect(result.returncode != 0 or written, "a directory of another name became read-only")


@SUBJECT.must(
    "masked-links", "config-linux.md#masked-paths", "A masked path is masked behind links, and inside only."
)
def masked_links(bench: Bench) -> None:
    container = bench.container({"/linux/maskedPaths": ["/link"]}, "file:/hello")
    os.symlink("/hello", f"{container.bundle}/rootfs/link")
    expect_equal(container.report()["file:/hello"], "", "content of the file behind a masked link")
    with open(f"{container.bundle}/rootfs/hello", encoding="utf-8") as file:
        expect_equal(file.read(), "content\n", "content of the file on the host")


@SUBJECT.must(
    "readonly-recursive",
    "config-linux.md#readonly-paths",
    "What is mounted below a read-only path stays readable.",
)
def readonly_recursive(bench: Bench) -> None:
    seen = bench.look(
        {"/linux/readonlyPaths": ["/proc"]}, "file:/proc/self/status", "write:/proc/sys/kernel/msgmax"
    )
    expect("Name" in str(seen["file:/proc/self/status"]), "/proc cannot be read")
    expect_equal(seen["write:/proc/sys/kernel/msgmax"], READ_ONLY, "writing below a read-only /proc")


def propagation(kind: str, bench: Bench) -> None:
    question = "file:/proc/self/mountinfo"
    tags = topmost(bench.look({"/linux/rootfsPropagation": kind}, question)[question], "/").tags
    wanted = {"shared": {"shared"}, "unbindable": {"unbindable"}}.get(kind, set())
    expect_equal(tags & {"shared", "unbindable"}, wanted, "propagation of the root")


for _kind in ("shared", "slave", "private", "unbindable"):
    SUBJECT.must(
        f"propagation-{_kind}",
        "config-linux.md#rootfs-mount-propagation",
        f"rootfsPropagation {_kind} is that of the root.",
    )(partial(propagation, _kind))


@SUBJECT.must(
    "propagation-from-host",
    "config-linux.md#rootfs-mount-propagation",
    "With slave what the host mounts appears in the container, and with private it does not.",
)
def propagation_from_host(bench: Bench) -> None:
    for kind, wanted in (("slave", True), ("private", False)):
        tree = bench.shared_tree()
        mount = {"destination": "/tmp", "type": "none", "source": tree, "options": ["rbind", f"r{kind}"]}
        container = bench.running({"/linux/rootfsPropagation": kind, "/mounts/-": mount})
        bench.mount_below(tree)
        point = "file:/proc/self/mountinfo"
        seen = any(one.point == "/tmp/below" for one in mounts_of(container.exec(point)[point]))
        expect_equal(seen, wanted, f"whether a mount of the host appears, with {kind}")
