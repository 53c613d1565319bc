"""Unpacking where space, memory or rights run out: refused whole, and the next try succeeds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.errors import ImageError
from oci_image.layers.limits import parse_limits
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.unpack import UnpackOptions, unpack_image
from pyruntime.base.errors import UsageError
from tests.image_builder import Layer, directory, file, header, make_layout, symlink, tar

pytestmark = pytest.mark.privileged
REPOSITORY = Path(__file__).parents[2]
PLATFORM = Platform("linux", "amd64")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=500", "none", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def options(form: str, path: Path) -> UnpackOptions:
    return UnpackOptions(platform=PLATFORM, snapshot=form, snapshots=str(path / "snapshots"))


@pytest.mark.parametrize("form", ["none", "directory"])
@pytest.mark.parametrize("lacking", ["space for the plain layer", "space for the files", "inodes"])
def test_a_full_file_system_is_refused_whole(tmp_path: Path, small: Path, form: str, lacking: str) -> None:
    content = {
        "space for the plain layer": [file(b"f", os.urandom(5 << 20))],
        "space for the files": [file(b"f%d" % number, os.urandom(100 << 10)) for number in range(30)],
        "inodes": [file(b"f%d" % number) for number in range(800)],
    }
    layout = make_layout(str(tmp_path / "layout"), Layer(tar(*content[lacking])))
    with pytest.raises(ImageError, match="no space left on device"):
        unpack_image(layout, Reference(), str(small / "bundle"), options(form, small))
    assert not [name for name in os.listdir(small) if "bundle" in name]
    assert form == "none" or os.listdir(small / "snapshots/images") == []
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", str(small)], check=True)
    unpack_image(layout, Reference(), str(small / "bundle"), options(form, small))
    assert len(os.listdir(small / "bundle/rootfs")) == len(content[lacking])
    subprocess.run(["umount", str(small / "bundle/rootfs")], check=False, capture_output=True)


@pytest.mark.parametrize("call", ["symlink", "mkdir", "pread", "utime", "link"])
def test_a_failing_device_is_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    entries = [directory(b"d"), file(b"d/f", b"x"), symlink(b"l", b"d"), header(b"h", kind=b"1", link=b"d/f")]
    layout = make_layout(str(tmp_path / "layout"), tar(*entries))
    right = getattr(os, call)

    def failing(*arguments: object, **named: object) -> object:
        if call == "mkdir" and ".bundle" in str(arguments[0]):
            return right(*arguments, **named)
        raise OSError(5, "Input/output error")

    target = tmp_path / "target"
    target.mkdir()
    with monkeypatch.context() as broken:
        broken.setattr(os, call, failing)
        with pytest.raises(ImageError, match="input/output error"):
            unpack_image(layout, Reference(), str(target / "bundle"), options("none", tmp_path))
    assert os.listdir(target) == []
    unpack_image(layout, Reference(), str(target / "bundle"), options("none", tmp_path))
    assert sorted(os.listdir(target / "bundle/rootfs")) == ["d", "h", "l"]


def big_layer(size: int) -> Layer:
    """A gzip layer with one file of `size` bytes, made without holding it."""
    head = header(b"big", size=size)
    digest = hashlib.sha256(head)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = [packer.compress(head)]
    piece = bytes(range(256)) * 4096
    for _ in range(size // len(piece)):
        digest.update(piece)
        pieces.append(packer.compress(piece))
    end = bytes(1024)
    digest.update(end)
    pieces += [packer.compress(end), packer.flush()]
    return Layer(b"", "gzip", blob=b"".join(pieces), diff_id=f"sha256:{digest.hexdigest()}")


def test_memory_does_not_depend_on_the_size_of_a_layer(tmp_path: Path) -> None:
    sizes = {}
    for megabytes in (1, 400):
        layout = make_layout(str(tmp_path / f"layout{megabytes}"), big_layer(megabytes << 20))
        # Not getrusage(RUSAGE_SELF): exec counts what the caller, of whose memory a vfork child has a loan, once held.
        code = (
            "import re, resource, sys; from oci_image.cli.main import main; code = main(sys.argv[1:]);"
            "own = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]);"
            "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
        )
        command = [sys.executable, "-c", code, "unpack", "-q", "--platform", "linux/amd64", "--image", layout]
        done = subprocess.run(
            [*command, str(tmp_path / f"bundle{megabytes}")], cwd=REPOSITORY, check=True, capture_output=True
        )
        sizes[megabytes] = int(done.stdout)
        big = tmp_path / f"bundle{megabytes}/rootfs/big"
        assert big.stat().st_size == megabytes << 20
        big.unlink()
    assert sizes[400] < 100_000
    assert sizes[400] - sizes[1] < 30_000


def test_limits_are_taken_from_the_command_line(tmp_path: Path) -> None:
    limits = parse_limits(["entries=3", "layer-bytes=2k", "name_bytes=5"])
    assert (limits.entries, limits.layer_bytes, limits.name_bytes, limits.layers) == (3, 2048, 5, 1000)
    for wrong in ("entries", "entries=x", "entries=-1", "nothing=1", "entries=1x"):
        with pytest.raises(UsageError, match="invalid limit"):
            parse_limits([wrong])
    for number, (text, content) in enumerate(
        {"entries=2": tar(*[file(b"%d" % n) for n in range(3)]), "name_bytes=5": tar(file(b"abcdef"))}.items()
    ):
        layout = make_layout(str(tmp_path / f"layout{number}"), content)
        settings = UnpackOptions(platform=PLATFORM, limits=parse_limits([text]))
        with pytest.raises(ImageError, match=r"more than 2 entries|longer than 5 bytes"):
            unpack_image(layout, Reference(), str(tmp_path / "bundle"), settings)


def test_an_image_is_mounted_in_a_user_namespace(tmp_path: Path) -> None:
    layout = make_layout(str(tmp_path / "layout"), tar(file(b"f", b"lower"), file(b"g")), tar(file(b".wh.g")))
    script = (
        f"cd {REPOSITORY} && {sys.executable} -m oci_image unpack -q --rootless --platform linux/amd64 "
        f"--snapshot directory --snapshots {tmp_path}/snapshots --image {layout} {tmp_path}/bundle && "
        f"cd {tmp_path}/bundle/rootfs && cat f && ls && echo upper > f && cat f"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "unshare failed" in done.stderr:
        pytest.skip("the kernel does not let user namespaces be made here")
    assert (done.returncode, done.stdout) == (0, "lowerf\nupper\n"), done.stderr
