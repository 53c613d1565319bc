"""Layers that attack whoever unpacks them: nothing outside the root file system may change.

Every test unpacks beside a "victim" tree and compares that tree afterwards, whatever the outcome.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.limits import Limits
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.unpack import UnpackOptions, unpack_image
from tests.hostile.place import Place
from tests.image_builder import (
    END,
    Layer,
    base256,
    device,
    directory,
    file,
    gnu_long,
    hard_link,
    header,
    make_layout,
    pax,
    symlink,
    tar,
)


def outside(place: Place, name: str = "") -> list[bytes]:
    """Ways to write the victim's path: absolute, and by more '..' than there are directories."""
    absolute = os.fsencode(place.victim / name)
    return [absolute, b"../" * 30 + absolute.lstrip(b"/")]


def test_writing_through_a_link_of_the_same_layer_stays_inside(place: Place) -> None:
    for number, target in enumerate(outside(place)):
        inside = place.path / "inside"
        name = b"link%d" % number
        text = place.refuses(tar(symlink(name, target), file(name + b"/file", b"evil")))
        assert "link" in text
        assert not inside.exists()


def test_writing_through_a_link_of_a_lower_layer_resolves_in_the_root(place: Place) -> None:
    target = outside(place)[0]
    rootfs = place.unpack(
        tar(directory(target.lstrip(b"/")), symlink(b"link", target)),
        tar(file(b"link/file", b"mine"), file(b"link/new", b"mine"), file(b"link/.wh.directory")),
    )
    assert (rootfs / str(place.victim).lstrip("/") / "new").read_bytes() == b"mine"


def test_a_file_over_a_link_replaces_the_link(place: Place) -> None:
    for form in (
        file(b"link", b"evil"),
        directory(b"link", mode=0o777),
        hard_link(b"link", b"other"),
        symlink(b"link", b"elsewhere"),
        header(b"link", kind=b"6"),
    ):
        layers = tar(file(b"other", b"x"), symlink(b"link", outside(place, "file")[0])), tar(form)
        rootfs = place.unpack(*layers)
        assert not (rootfs / "link").is_symlink() or os.readlink(rootfs / "link") == "elsewhere"
        (place.path / "bundle").rename(place.path / f"done-{len(os.listdir(place.path))}")


def test_metadata_of_a_link_is_never_that_of_its_target(place: Place) -> None:
    xattr = pax({b"SCHILY.xattr.user.evil": b"1", b"SCHILY.xattr.security.evil": b"1"})
    target = outside(place, "file")[0]
    if os.geteuid() == 0:
        place.unpack(tar(symlink(b"l", target, uid=1, gid=1, mtime=1)))
        (place.path / "bundle").rename(place.path / "done")
    place.refuses(tar(xattr + symlink(b"l", target)), tar(file(b"l/x"))) if os.geteuid() == 0 else None
    assert not os.listxattr(place.victim / "file")


@pytest.mark.parametrize("name", [b".", b"./", b"/", b"/.", b"././", b""])
def test_the_root_can_only_be_a_directory(place: Place, name: bytes) -> None:
    for form in (
        symlink(name, b"/"),
        header(name, kind=b"6"),
        hard_link(name, b"f"),
        device(name, 1, 3),
    ):
        assert "root" in place.refuses(tar(form))


def test_hard_links_to_host_files_are_not_made(place: Place) -> None:
    for target in outside(place, "file"):
        text = place.refuses(tar(hard_link(b"l", target), file(b"l", b"evil")))
        assert "entry 'l'" in text


def test_hard_links_through_links_stay_inside(place: Place) -> None:
    text = place.refuses(tar(symlink(b"d", outside(place)[0]), hard_link(b"l", b"d/file", mode=0o777)))
    assert "not in the image" in text


def test_a_hard_link_to_a_symbolic_link_links_the_link(place: Place) -> None:
    rootfs = place.unpack(
        tar(symlink(b"s", outside(place, "file")[0]), hard_link(b"l", b"s", mode=0o777)),
        tar(file(b"l", b"new")),
    )
    assert (rootfs / "l").read_bytes() == b"new"
    assert (rootfs / "s").is_symlink()


def test_truncating_through_a_hard_link_keeps_the_other_name(place: Place) -> None:
    rootfs = place.unpack(tar(file(b"a", b"old"), hard_link(b"b", b"a")), tar(file(b"b", b"new")))
    assert ((rootfs / "a").read_bytes(), (rootfs / "b").read_bytes()) == (b"old", b"new")


@pytest.mark.parametrize(
    "name",
    [b"../x", b"a/../../x", b"..", b"a/..", b"/../x", b"a/../b"],
)
def test_names_with_dots_are_refused(place: Place, name: bytes) -> None:
    for form in (
        file(name),
        directory(name),
        hard_link(b"ok", name),
        file(os.path.dirname(name) + b"/.wh.x"),
    ):
        if b".." in form[:157]:
            assert "'..'" in place.refuses(tar(form)) or "whiteout" in place.refuses(tar(form))


def test_absolute_names_are_relative_to_the_root(place: Place) -> None:
    rootfs = place.unpack(tar(file(b"/f", b"x"), file(b"//d//./g", b"y")))
    assert (rootfs / "f").read_bytes() == b"x"
    assert (rootfs / "d/g").read_bytes() == b"y"


@pytest.mark.parametrize("name", [b"\0", b"a\0b"])
def test_zero_bytes_in_pax_names_are_refused(place: Place, name: bytes) -> None:
    place.refuses(tar(pax({b"path": name}), file(b"f")))
    place.refuses(tar(pax({b"linkpath": name}), symlink(b"l", b"x")))
    place.refuses(tar(pax({b"GNU.sparse.name": name, b"GNU.sparse.map": b"0,0"}), file(b"f")))


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh.", b"d/.wh..", b"d/.wh..."])
def test_whiteouts_of_nothing_or_of_dots_are_refused(place: Place, name: bytes) -> None:
    assert "whiteout" in place.refuses(tar(file(b"d/f")), tar(file(name)))


def test_whiteouts_through_links_do_not_leave_the_root(place: Place) -> None:
    for target in outside(place):
        lower = tar(symlink(b"link", target))
        rootfs = place.unpack(
            lower, tar(file(b"link/.wh.file"), file(b"link/.wh.directory"), file(b"link/.wh..wh..opq"))
        )
        assert (rootfs / "link").is_symlink()
        (place.path / "bundle").rename(place.path / f"done-{len(os.listdir(place.path))}")


def test_whiteouts_below_a_link_of_the_same_layer_remove_nothing(place: Place) -> None:
    lower = tar(file(b"old/a", b"1"), file(b"new/a", b"2"), file(b"new/b", b"3"))
    upper = tar(symlink(b"old", b"new"), file(b"old/.wh.a"), file(b"old/.wh.b"), file(b"old/.wh..wh..opq"))
    rootfs = place.unpack(lower, upper)
    assert (rootfs / "new/a").read_bytes() == b"2"
    assert sorted(os.listdir(rootfs / "new")) == ["a", "b"]


def test_removing_a_tree_does_not_follow_links_in_it(place: Place) -> None:
    lower = tar(
        symlink(b"d/l", outside(place)[0]), symlink(b"d/f", outside(place, "file")[0]), file(b"d/x/y")
    )
    rootfs = place.unpack(lower, tar(file(b".wh.d")))
    assert not (rootfs / "d").exists()


@pytest.mark.parametrize("kind", [b"0", b"1", b"2", b"5", b"6"])
def test_only_the_name_of_a_whiteout_counts(place: Place, kind: bytes) -> None:
    upper = tar(header(b".wh.a", kind=kind, link=b"/x"), header(b"d/.wh..wh..opq", kind=kind, link=b"/x"))
    rootfs = place.unpack(tar(file(b"a"), file(b"d/b")), upper)
    assert sorted(os.listdir(rootfs)) == ["d"]
    assert os.listdir(rootfs / "d") == []


def test_entries_below_a_whiteout_name_are_refused(place: Place) -> None:
    assert "below a whiteout" in place.refuses(tar(file(b".wh.d/x")))


def test_left_overs_of_aufs_are_passed_over(place: Place) -> None:
    rootfs = place.unpack(tar(directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2"), file(b".wh..wh.aufs")))
    assert os.listdir(rootfs) == []


def test_a_loop_of_links_is_refused(place: Place) -> None:
    assert "symbolic link" in place.refuses(tar(symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")))


def test_links_into_proc_lead_nowhere(place: Place) -> None:
    fd = os.open(place.victim, os.O_RDONLY)
    try:
        for target in (b"/proc/self/fd/%d" % fd, b"/proc/self/cwd", b"/proc/self/root", b"/dev/fd/%d" % fd):
            place.refuses(tar(symlink(b"l", target), file(b"l/file", b"evil")))
    finally:
        os.close(fd)


def test_a_config_user_cannot_make_the_host_files_speak(place: Place) -> None:
    (place.path / "passwd").write_text("evil:x:0:0::/:\n")
    layer = tar(symlink(b"etc/passwd", os.fsencode(place.path / "passwd")))
    assert "not in the image" in place.refuses(layer, config={"User": "evil"})


Breaker = Callable[[Layer], Layer]


def _blob(layer: Layer) -> bytes:
    return gzip.compress(layer.plain, 1, mtime=0)


@pytest.mark.parametrize(
    ("breaker", "words"),
    [
        (lambda layer: Layer(layer.plain, digest="sha256:" + "0" * 64), "does not match its digest"),
        (lambda layer: Layer(layer.plain, size=len(_blob(layer)) - 1), "its descriptor says"),
        (lambda layer: Layer(layer.plain, size=len(_blob(layer)) + 1), "its descriptor says"),
        (lambda layer: Layer(layer.plain, size=1 << 62), "its descriptor says"),
        (lambda layer: Layer(layer.plain, diff_id="sha256:" + "0" * 64), "diff ID"),
        (lambda layer: Layer(layer.plain, blob=_blob(layer)[:-9]), "ends too early"),
        (lambda layer: Layer(layer.plain, blob=_blob(layer)[:40]), "ends too early|damaged"),
        (lambda layer: Layer(layer.plain, blob=_blob(layer) + b"garbage"), "garbage"),
        (lambda layer: Layer(layer.plain, blob=b"BZh9" + bytes(100)), "bzip2"),
        (lambda layer: Layer(layer.plain, blob=b"\x1f\x8b" + b"x" * 100), "damaged"),
        (lambda layer: Layer(layer.plain, blob=b""), "diff ID"),
        (lambda layer: Layer(layer.plain, media_type="application/x-unknown"), "unknown layer media type"),
        (lambda layer: Layer(layer.plain[:1000], compression="none"), "middle"),
    ],
)
def test_damaged_layers_are_refused_and_named(place: Place, breaker: Breaker, words: str) -> None:
    import re

    layer = breaker(Layer(tar(file(b"f", os.urandom(2000)))))
    text = place.refuses(tar(file(b"ok")), layer)
    assert re.search(words, text), text
    assert "layer 2 of 2" in text or "media type" in text


def test_a_flipped_bit_is_reported_as_a_wrong_digest(place: Place) -> None:
    plain = tar(file(b"f", os.urandom(5000)), file(b"g"))
    layout = make_layout(str(place.path / "layout"), Layer(plain))
    blob = next(
        name for name in Path(layout, "blobs/sha256").iterdir() if name.read_bytes()[:2] == b"\x1f\x8b"
    )
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    options = UnpackOptions(platform=Platform("linux", "amd64"), rootless=os.geteuid() != 0)
    with pytest.raises(IntegrityError, match="does not match its digest"):
        unpack_image(layout, Reference(), str(place.path / "bundle"), options)
    assert not (place.path / "bundle").exists()


def test_garbage_after_the_archive_belongs_to_the_diff_id(place: Place) -> None:
    plain = tar(file(b"f", b"x")) + os.urandom(3000)
    assert (place.unpack(Layer(plain)) / "f").read_bytes() == b"x"
    (place.path / "bundle").rename(place.path / "done")
    short = "sha256:" + hashlib.sha256(plain[:-1]).hexdigest()
    assert "diff ID" in place.refuses(Layer(plain, diff_id=short))


def test_bombs_are_stopped_at_the_limits(place: Place) -> None:
    zeros = tar(file(b"f", bytes(20 << 20)))
    assert "larger than" in place.refuses(Layer(zeros), limits=Limits(layer_bytes=1 << 20))
    assert "times as large" in place.refuses(Layer(zeros), limits=Limits(ratio=100, ratio_free_bytes=1 << 20))
    assert "entries" in place.refuses(tar(*[file(b"%d" % n) for n in range(20)]), limits=Limits(entries=10))
    sparse = pax({b"GNU.sparse.size": b"%d" % (1 << 60), b"GNU.sparse.map": b"0,0"})
    assert "larger than" in place.refuses(tar(sparse, file(b"f")))
    assert "layers" in place.refuses(*[tar()] * 5, limits=Limits(layers=4))
    assert "components" in place.refuses(tar(file(b"d/" * 2000 + b"f")))
    assert "255" in place.refuses(tar(file(b"n" * 256)))


def test_a_zstd_bomb_needs_no_memory(place: Place) -> None:
    zstandard = pytest.importorskip("zstandard")
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(300 << 20))
    layer = Layer(b"", compression="zstd", blob=bomb)
    assert "diff ID" in place.refuses(layer)


def test_huge_headers_are_refused_before_they_are_read(place: Place) -> None:
    huge = header(b"pax", kind=b"x", size=1 << 40)
    assert "exceed" in place.refuses(tar(huge))
    assert "exceed" in place.refuses(tar(header(b"L", kind=b"L", size=2 << 20)))


@pytest.mark.parametrize("value", [-1, -(1 << 62), 1 << 63])
def test_negative_and_overflowing_sizes_are_refused(place: Place, value: int) -> None:
    assert "size" in place.refuses(tar(header(b"f", fields={(124, 136): base256(value, 12)})))
    assert "out of range" in place.refuses(tar(header(b"f", fields={(108, 116): base256(-1, 8)})))


def test_a_smuggled_entry_is_data_where_pax_says_so(place: Place) -> None:
    smuggled = file(b"smuggled", b"evil")
    entry = pax({b"size": b"%d" % len(smuggled)}) + header(b"carrier") + smuggled
    rootfs = place.unpack(tar(entry))
    assert os.listdir(rootfs) == ["carrier"]
    assert (rootfs / "carrier").read_bytes() == smuggled


def test_attributes_of_overlays_and_of_the_host_are_dropped(place: Place) -> None:
    names = [b"trusted.overlay.redirect", b"user.overlay.opaque", b"security.selinux", b"security.ima"]
    records = {b"SCHILY.xattr." + name: b"y" for name in names}
    rootfs = place.unpack(tar(pax(records), directory(b"d"), pax(records), file(b"f")))
    assert not {os.fsencode(name) for name in os.listxattr(rootfs / "d") + os.listxattr(rootfs / "f")} & set(
        names
    )


def test_control_characters_of_names_do_not_reach_the_terminal(place: Place) -> None:
    text = place.refuses(tar(header(b"\x1b[31mred\xff\n", kind=b"Z")))
    assert text.isprintable()


def test_a_config_with_another_number_of_layers_is_refused(place: Place) -> None:
    properties = {"rootfs": {"type": "layers", "diff_ids": []}}
    assert "diff IDs" in place.refuses(tar(), properties=properties)


def test_the_bundle_is_closed_to_others_and_must_be_new(place: Place) -> None:
    place.unpack(tar(header(b"su", mode=0o4755)))
    assert (place.path / "bundle").stat().st_mode & 0o777 == 0o700
    layout = make_layout(str(place.path / "again"), tar())
    options = UnpackOptions(rootless=True, platform=Platform("linux", "amd64"))
    for name in ("bundle", "victim", "victim/file", "victim/secret"):
        with pytest.raises(ImageError, match="already exists"):
            unpack_image(layout, Reference(), str(place.path / name), options)


def test_trees_too_deep_for_one_path_can_be_made_and_removed(place: Place) -> None:
    deep = b"/".join([b"n" * 200] * 40)
    rootfs = place.unpack(tar(gnu_long(deep + b"/f"), file(b"f", b"deep")))
    fd = os.open(rootfs, os.O_RDONLY)
    for part in deep.split(b"/"):
        fd, old = os.open(part, os.O_RDONLY, dir_fd=fd), fd
        os.close(old)
    assert os.listdir(fd) == ["f"]
    os.close(fd)
    (place.path / "bundle").rename(place.path / "done")
    nested = b"/".join([b"d"] * 900)
    rootfs = place.unpack(tar(pax({b"path": nested + b"/f"}), file(b"f")), tar(file(b".wh.d")))
    assert os.listdir(rootfs) == []


def test_truncated_deflate_after_good_entries_leaves_nothing(place: Place) -> None:
    plain = tar(*[file(b"f%d" % n, os.urandom(500)) for n in range(200)])
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    blob = compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert "ends too early" in place.refuses(Layer(plain, blob=blob))


def test_an_archive_without_an_end_is_complete_where_it_stops(place: Place) -> None:
    plain = tar(file(b"f", b"x"))[: -len(END)]
    assert (place.unpack(Layer(plain)) / "f").read_bytes() == b"x"
