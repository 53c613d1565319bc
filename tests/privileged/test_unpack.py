"""Unpacking with all of root's rights, without them, and side by side with umoci."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.errors import ImageError
from oci_image.layers.ownership import IdMap, IdRange
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.unpack import UnpackedBundle, UnpackOptions, unpack_image
from tests.image_builder import (
    NET_RAW,
    Layer,
    base256,
    device,
    directory,
    file,
    hard_link,
    header,
    make_layout,
    pax,
    symlink,
    tar,
)
from tests.privileged.compare_trees import differences

pytestmark = pytest.mark.privileged
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
REPOSITORY = Path(__file__).parents[2]
PLATFORM = Platform("linux", "amd64")


def unpack(path: Path, *layers: bytes | Layer, name: str = "bundle", **options: object) -> Path:
    unpack_bundle(path, *layers, name=name, **options)
    return path / name / "rootfs"


def unpack_bundle(
    path: Path, *layers: bytes | Layer, name: str = "bundle", **options: object
) -> UnpackedBundle:
    layout = make_layout(str(path / f"layout-{name}"), *layers)
    settings = {"platform": PLATFORM, "rootless": os.geteuid() != 0, **options}
    return unpack_image(layout, Reference(), str(path / name), UnpackOptions(**settings))  # type: ignore[arg-type]


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@needs_root
def test_devices_fifos_owners_modes_times_and_attributes_are_kept(tmp_path: Path) -> None:
    attributes = {b"SCHILY.xattr.user.note": b"a\0b", b"SCHILY.xattr.security.capability": NET_RAW}
    root = unpack(
        tmp_path,
        tar(
            directory(b"./", mode=0o711, mtime=77),
            device(b"null", 1, 3, mode=0o666, uid=3),
            device(b"disk", 8, 1, kind=b"4", mode=0o660),
            header(b"fifo", kind=b"6", mode=0o1640, gid=4),
            pax(attributes),
            file(b"ping", b"x", mode=0o4755, uid=1000, gid=2**32 - 2),
            pax({b"mtime": b"1700000000.123456789"}),
            symlink(b"link", b"ping", uid=7, gid=8),
            directory(b"sticky", mode=0o3777, uid=5, gid=6, mtime=99),
            file(b"sticky/old", b"", fields={(136, 148): base256(-86400, 12)}),
        ),
    )
    null = (root / "null").lstat()
    assert (stat.S_ISCHR(null.st_mode), null.st_rdev, stat.S_IMODE(null.st_mode)) == (
        True,
        os.makedev(1, 3),
        0o666,
    )
    assert stat.S_ISBLK((root / "disk").lstat().st_mode)
    assert stat.S_IMODE((root / "fifo").lstat().st_mode) == 0o1640
    ping = (root / "ping").lstat()
    assert (stat.S_IMODE(ping.st_mode), ping.st_uid, ping.st_gid) == (0o4755, 1000, 2**32 - 2)
    assert os.getxattr(root / "ping", "security.capability") == NET_RAW
    assert os.getxattr(root / "ping", "user.note") == b"a\0b"
    link = (root / "link").lstat()
    assert (link.st_uid, link.st_gid, link.st_mtime_ns) == (7, 8, 1_700_000_000_123_456_789)
    sticky = (root / "sticky").lstat()
    assert (stat.S_IMODE(sticky.st_mode), sticky.st_uid, sticky.st_mtime) == (0o3777, 5, 99)
    assert (root / "sticky/old").lstat().st_mtime == -86400
    assert (stat.S_IMODE(root.lstat().st_mode), root.lstat().st_mtime) == (0o711, 77)


def test_a_layer_over_a_layer_replaces_every_kind_by_every_kind(tmp_path: Path) -> None:
    kinds = {
        "file": lambda name: file(name, b"new"),
        "directory": lambda name: directory(name) + file(name + b"/inside"),
        "link": lambda name: symlink(name, b"nowhere"),
        "hard": lambda name: hard_link(name, b"target"),
        "fifo": lambda name: header(name, kind=b"6"),
    }
    pairs = [(low, high) for low in kinds for high in kinds]
    lower = tar(file(b"target", b"t"), *[kinds[low](f"{low}-{high}".encode()) for low, high in pairs])
    upper = tar(file(b"target", b"t"), *[kinds[high](f"{low}-{high}".encode()) for low, high in pairs])
    root = unpack(tmp_path, lower, upper)
    for low, high in pairs:
        mode = (root / f"{low}-{high}").lstat().st_mode
        expected = {"directory": stat.S_ISDIR, "link": stat.S_ISLNK, "fifo": stat.S_ISFIFO}.get(
            high, stat.S_ISREG
        )
        assert expected(mode), (low, high)
    assert (root / "target").read_bytes() == b"t"


def test_a_directory_over_a_directory_keeps_content_and_takes_attributes(tmp_path: Path) -> None:
    lower = tar(pax({b"SCHILY.xattr.user.old": b"1"}), directory(b"d", mode=0o700), file(b"d/f"))
    root = unpack(tmp_path, lower, tar(directory(b"d", mode=0o755, mtime=5)))
    assert names(root) == ["d", "d/f"]
    status = (root / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o755, 5)
    assert "user.old" not in os.listxattr(root / "d")


@pytest.mark.parametrize("whiteout_first", [True, False])
def test_whiteouts_act_on_lower_layers_only_whatever_the_order(
    tmp_path: Path, *, whiteout_first: bool
) -> None:
    lower = tar(
        file(b"d/old"), file(b"d/sub/old"), file(b"e/old"), file(b"e/sub/old"), file(b"gone"), file(b"x")
    )
    marks = [file(b"d/.wh..wh..opq"), file(b".wh.e"), file(b".wh.gone"), file(b".wh.never"), file(b".wh.x")]
    made = [file(b"d/new"), file(b"d/sub/new"), directory(b"e"), file(b"e/sub/new"), file(b"x", b"new")]
    root = unpack(tmp_path, lower, tar(*(marks + made if whiteout_first else made + marks)))
    expected = ["d", "d/new", "d/sub", "d/sub/new", "e", "e/sub", "e/sub/new", "x"]
    assert names(root) == expected
    assert (root / "x").read_bytes() == b"new"


def test_whiteouts_keep_what_the_layer_made_under_another_name_of_the_directory(tmp_path: Path) -> None:
    lower = tar(file(b"usr/lib/f", b"old"), file(b"usr/lib/g"), symlink(b"lib", b"usr/lib"))
    root = unpack(tmp_path, lower, tar(file(b"lib/f", b"new"), file(b"usr/lib/.wh.f"), file(b"lib/.wh.g")))
    assert (root / "usr/lib/f").read_bytes() == b"new"
    assert names(root) == ["lib", "usr", "usr/lib", "usr/lib/f"]


@pytest.mark.parametrize("keep_dirlinks", [True, False])
@pytest.mark.parametrize("marker_first", [True, False])
@pytest.mark.parametrize("mark", [b"d/l/.wh..wh..opq", b"d/l/.wh.kept", b"d/l/sub/.wh.kept"])
def test_whiteouts_below_a_link_that_the_layer_replaces_hide_nothing(
    tmp_path: Path, mark: bytes, *, marker_first: bool, keep_dirlinks: bool
) -> None:
    lower = tar(file(b"d/target/kept"), file(b"d/target/sub/kept"), symlink(b"d/l", b"target"))
    marks, made = [file(mark)], [directory(b"d/l"), file(b"d/l/new")]
    upper = tar(*(marks + made if marker_first else made + marks))
    root = unpack(tmp_path, lower, upper, keep_dirlinks=keep_dirlinks)
    assert (root / "d/l").is_symlink() == keep_dirlinks
    assert (root / "d/l/new").exists()
    hidden = {"kept", "sub/kept"} if b"opq" in mark else {str(mark[4:], "ascii").replace(".wh.", "")}
    there = {name for name in ("kept", "sub/kept") if (root / "d/target" / name).exists()}
    assert there == {"kept", "sub/kept"} - (hidden if keep_dirlinks else set())


def test_many_removals_below_one_opaque_directory(tmp_path: Path) -> None:
    lower = tar(*[file(b"d/%d/%d/f" % (one, two)) for one in range(20) for two in range(20)])
    upper = tar(*[file(b"d/%d/1/new" % one) for one in range(20)], file(b"d/.wh..wh..opq"))
    root = unpack(tmp_path, lower, upper)
    assert len([name for name in names(root) if name.endswith("/new")]) == 20
    assert not [name for name in names(root) if name.endswith("/f")]


def test_parents_that_are_links_are_resolved_inside_the_root(tmp_path: Path) -> None:
    lower = tar(directory(b"usr/lib"), symlink(b"lib", b"/usr/lib"), symlink(b"up", b"../../usr"))
    root = unpack(tmp_path, lower, tar(file(b"lib/a", b"a"), file(b"up/lib/b", b"b")))
    assert sorted(os.listdir(root / "usr/lib")) == ["a", "b"]
    assert (root / "lib").is_symlink()


def test_a_file_in_the_way_of_an_implied_parent_gives_way_unless_it_is_new(tmp_path: Path) -> None:
    assert names(unpack(tmp_path, tar(file(b"a")), tar(file(b"a/b")))) == ["a", "a/b"]
    with pytest.raises(ImageError, match="not a directory"):
        unpack(tmp_path, tar(file(b"a"), file(b"a/b")), name="other")


def test_hard_links_find_targets_below_and_later(tmp_path: Path) -> None:
    root = unpack(
        tmp_path,
        tar(file(b"low", b"l")),
        tar(
            hard_link(b"early", b"late"),
            hard_link(b"one", b"low"),
            file(b"late", b"x"),
            hard_link(b"low", b"low"),
        ),
    )
    assert (root / "early").samefile(root / "late")
    assert (root / "one").samefile(root / "low")


def test_implied_parents_have_plain_attributes(tmp_path: Path) -> None:
    root = unpack(tmp_path, tar(file(b"a/b/c")))
    for path in (root, root / "a", root / "a/b"):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime) == (0o755, 0)


def test_sparse_files_keep_their_holes(tmp_path: Path) -> None:
    size = 64 << 20
    records = {b"GNU.sparse.size": b"%d" % size, b"GNU.sparse.map": b"0,3,%d,3" % (size - 3)}
    root = unpack(tmp_path, tar(pax(records), file(b"f", b"abcxyz")))
    data = (root / "f").read_bytes()
    assert (len(data), data[:3], data[-3:], data.strip(b"abcxyz\0")) == (size, b"abc", b"xyz", b"")
    assert (root / "f").stat().st_blocks * 512 < 1 << 20


def test_the_umask_of_the_caller_changes_nothing(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        root = unpack(tmp_path, tar(file(b"f", mode=0o666), directory(b"d", mode=0o777)))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o666
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o777


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_every_compression_is_found_by_label_or_by_its_bytes(tmp_path: Path, compression: str) -> None:
    if compression == "zstd":
        pytest.importorskip("zstandard")
    plain = tar(file(b"f", b"data" * 100_000))
    for number, media_type in enumerate([None, "application/vnd.oci.image.layer.v1.tar+gzip"]):
        root = unpack(tmp_path, Layer(plain, compression, media_type), name=f"b{number}")
        assert (root / "f").stat().st_size == 400_000


def test_members_frames_and_padding_are_read_through(tmp_path: Path) -> None:
    import gzip

    zstandard = pytest.importorskip("zstandard")
    plain = tar(file(b"f", os.urandom(5000)), file(b"g"))
    parts = [plain[:1000], plain[1000:1001], b"", plain[1001:]]
    members = b"".join(gzip.compress(part) for part in parts) + bytes(700)
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    frames = b"".join(skippable + zstandard.ZstdCompressor().compress(part) for part in parts) + skippable
    for number, blob in enumerate([members, frames]):
        assert names(unpack(tmp_path, Layer(plain, "none", blob=blob), name=f"b{number}")) == ["f", "g"]


def test_links_to_directories_are_kept_on_request(tmp_path: Path) -> None:
    layers = tar(directory(b"usr/lib"), symlink(b"lib", b"usr/lib")), tar(directory(b"lib"), file(b"lib/f"))
    kept = unpack(tmp_path, *layers, keep_dirlinks=True, name="kept")
    assert (kept / "lib").is_symlink()
    assert (kept / "usr/lib/f").exists()
    replaced = unpack(tmp_path, *layers, name="replaced")
    assert not (replaced / "lib").is_symlink()
    assert not (replaced / "usr/lib/f").exists()


@needs_root
def test_maps_shift_owners_and_refuse_ids_outside(tmp_path: Path) -> None:
    maps = IdMap((IdRange(0, 100_000, 1000),))
    bundle = unpack_bundle(
        tmp_path, tar(file(b"f", uid=5, gid=6), directory(b"d")), uid_map=maps, gid_map=maps
    )
    status = Path(bundle.path, "rootfs/f").stat()
    assert (status.st_uid, status.st_gid) == (100_005, 100_006)
    assert Path(bundle.path, "rootfs").stat().st_uid == 100_000
    config = json.loads(Path(bundle.path, "config.json").read_text())
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 1000}]
    with pytest.raises(ImageError, match="uid 1000 is not in the uid map"):
        unpack(tmp_path, tar(file(b"f", uid=1000)), uid_map=maps, gid_map=maps, name="other")


def test_the_bundle_says_where_it_comes_from(tmp_path: Path) -> None:
    bundle = unpack_bundle(tmp_path, tar())
    assert sorted(os.listdir(bundle.path)) == ["config.json", "oci-image.json", "rootfs"]
    record = json.loads(Path(bundle.path, "oci-image.json").read_text())
    assert record["descriptors"][-1]["digest"] == str(bundle.chain[-1].digest)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody can reach and write to, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="oci-image-test-") as name:
        os.chmod(name, 0o777)
        yield Path(name)


def unpack_as_nobody(layout: str, bundle: Path) -> tuple[int, str]:
    """Exit code and stderr of `oci-image unpack --rootless` as uid and gid 65534.

    A fork of this process, since nobody may not be able to reach the interpreter.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writing, 2)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            sys.stdout = sys.stderr
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            code = main(["unpack", "--rootless", "--platform", "linux/amd64", "--image", layout, str(bundle)])
            sys.stderr.flush()
            os._exit(code)
        finally:
            os._exit(99)
    os.close(writing)
    with os.fdopen(reading) as output:
        errors = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors


@needs_root
def test_without_root_files_belong_to_the_caller(open_path: Path) -> None:
    layout = make_layout(
        str(open_path / "layout"),
        tar(
            directory(b"closed", mode=0o0, uid=1),
            file(b"closed/f", mode=0o0, uid=1000, gid=300),
            directory(b"readonly", mode=0o555),
            file(b"readonly/f"),
            device(b"null", 1, 3),
            pax({b"SCHILY.xattr.security.capability": NET_RAW}),
            file(b"ping", mode=0o4755, uid=2),
        ),
        tar(file(b"closed/g"), file(b"readonly/.wh.f"), directory(b"readonly", mode=0o500)),
    )
    code, errors = unpack_as_nobody(layout, open_path / "bundle")
    assert code == 0, errors
    assert "devices are unpacked as empty files" in errors
    assert "security.capability cannot be set without root" in errors
    root = open_path / "bundle/rootfs"
    assert names(root) == ["closed", "closed/f", "closed/g", "null", "ping", "readonly"]
    assert {path.lstat().st_uid for path in [root, *root.rglob("*")]} == {65534}
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0
    assert (root / "null").is_file()
    owner = os.getxattr(root / "ping", "user.rootlesscontainers")
    assert owner == bytes([8, 2])
    config = json.loads((open_path / "bundle/config.json").read_text())
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 65534, "size": 1}]


@needs_root
def test_without_root_a_failed_unpack_leaves_nothing_either(open_path: Path) -> None:
    layout = make_layout(
        str(open_path / "layout"), tar(directory(b"a", mode=0), file(b"a/f")), tar(header(b"x", kind=b"Z"))
    )
    code, errors = unpack_as_nobody(layout, open_path / "bundle")
    assert code == 1
    assert "layer 2 of 2" in errors
    assert "entry 'x'" in errors
    assert os.listdir(open_path) == ["layout"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    many = tar(*[file(b"d%d/f%d" % (n % 100, n), b"x" * 1000) for n in range(60_000)])
    layout = make_layout(str(tmp_path / "layout"), Layer(many, "none"))
    target = tmp_path / "target"
    target.mkdir()
    options = [] if os.geteuid() == 0 else ["--rootless"]
    program = [
        sys.executable,
        "-m",
        "oci_image",
        "unpack",
        *options,
        "--platform",
        "linux/amd64",
        "--image",
        layout,
    ]
    with subprocess.Popen(
        [*program, str(target / "bundle")], cwd=REPOSITORY, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 20
        while not list(target.glob(".bundle*/rootfs/d50")) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert os.listdir(target) == []


@needs_root
@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")
def test_the_tree_is_the_one_that_umoci_makes(tmp_path: Path) -> None:
    lower = tar(
        directory(b"./", mtime=3),
        directory(b"etc", uid=1, mode=0o750, mtime=4),
        file(b"etc/conf", b"a" * 3000, mode=0o4711, uid=10, gid=2**31),
        symlink(b"lib", b"usr/lib", uid=2),
        directory(b"usr"),
        directory(b"usr/lib", mode=0o2775),
        file(b"usr/lib/a", b"a"),
        hard_link(b"usr/lib/b", b"usr/lib/a"),
        device(b"null", 1, 3, mode=0o666),
        header(b"fifo", kind=b"6", mode=0o622),
        pax({b"SCHILY.xattr.user.x": b"1\0", b"SCHILY.xattr.security.capability": NET_RAW}),
        file(b"capable", b"x"),
        pax({b"path": b"deep/" * 60 + b"leaf"}),
        file(b"leaf", b"deep"),
        file(b"gone/f"),
        file(b"opaque/f"),
    )
    upper = tar(
        file(b".wh.gone"),
        file(b"opaque/.wh..wh..opq"),
        file(b"opaque/g"),
        file(b"usr/lib/b", b"broken link"),
        file(b"lib/new", b"n"),
        directory(b"etc", mode=0o700, mtime=9),
    )
    layout = make_layout(str(tmp_path / "layout"), lower, upper)
    unpack_image(layout, Reference(), str(tmp_path / "ours"), UnpackOptions(platform=PLATFORM))
    command = ["umoci", "unpack", "--image", f"{layout}:latest", str(tmp_path / "theirs")]
    subprocess.run(command, check=True, capture_output=True)
    found = differences(str(tmp_path / "ours/rootfs"), str(tmp_path / "theirs/rootfs"))
    # Parents that no layer lists: the specification leaves their attributes open, docs/unpack.md has ours.
    implied = {"gone", "opaque"} | {"/".join(["deep"] * depth) for depth in range(1, 61)}
    # A whiteout in the root leaves umoci's root with the time of unpacking.
    unspecified = {(path, name) for path in implied for name in ("mtime_ns", "mode")} | {(".", "mtime_ns")}
    assert [item for item in found if item[:2] not in unspecified] == []
