"""config.md and config-linux.md: root, mounts, devices, masked and read-only paths."""

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
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
    "propagation", "config-linux.md#rootfs-mount-propagation", "rootfsPropagation is that of the root."
)
def propagation(bench: Bench) -> None:
    seen = bench.look({"/linux/rootfsPropagation": "unbindable"}, "file:/proc/self/mountinfo")
    root = next(line for line in seen["file:/proc/self/mountinfo"].splitlines() if line.split()[4] == "/")
    expect("unbindable" in root.partition(" - ")[0].split(), f"the root's mount is {root}")
