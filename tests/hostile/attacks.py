"""Layers that attack, as data: what is in them, and the words of the refusal where there must be one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.image_builder import (
    Layer,
    base256,
    device,
    directory,
    file,
    gnu_long,
    hard_link,
    header,
    pax,
    symlink,
    tar,
)


@dataclass(frozen=True)
class Attack:
    """`layers` gets the path of the victim; `words` are in the refusal, "" if it may only do no harm."""

    name: str
    layers: Callable[[bytes], list[bytes | Layer]]
    words: str = ""


def up(victim: bytes) -> bytes:
    """The victim by more '..' than there are directories."""
    return b"../" * 30 + victim.lstrip(b"/")


OVERLAY = {
    b"SCHILY.xattr.trusted.overlay.redirect": b"/etc",
    b"SCHILY.xattr.trusted.overlay.metacopy": b"",
    b"SCHILY.xattr.trusted.overlay.opaque": b"y",
    b"SCHILY.xattr.user.overlay.opaque": b"y",
    b"SCHILY.xattr.user.overlay.whiteout": b"",
}

ATTACKS = [
    Attack(
        "write-through-new-link",
        lambda v: [tar(symlink(b"l", v), file(b"l/file", b"evil"))],
        "entry 'l/file'",
    ),
    Attack(
        "write-through-old-link",
        lambda v: [tar(symlink(b"l", v)), tar(file(b"l/file", b"evil"))],
        "not a directory",
    ),
    Attack(
        "write-through-dots-link",
        lambda v: [tar(symlink(b"l", up(v)), file(b"l/file", b"evil"))],
        "entry 'l/file'",
    ),
    Attack(
        "write-inside-by-absolute-link",
        lambda v: [
            tar(directory(v.lstrip(b"/")), symlink(b"l", v)),
            tar(file(b"l/new", b"x"), file(b"l/.wh.file")),
        ],
    ),
    Attack("over-a-link", lambda v: [tar(symlink(b"l", v + b"/file")), tar(file(b"l", b"evil", mode=0o777))]),
    Attack(
        "directory-over-a-link",
        lambda v: [tar(symlink(b"l", v)), tar(directory(b"l", mode=0o777), file(b"l/x"))],
    ),
    Attack("root-is-a-link", lambda v: [tar(symlink(b"./", v), file(b"file", b"evil"))], "root"),
    Attack("hard-link-out", lambda v: [tar(hard_link(b"h", v + b"/file"), file(b"h", b"evil"))], "entry 'h'"),
    Attack("hard-link-by-dots", lambda v: [tar(hard_link(b"h", up(v) + b"/file"))], "'..'"),
    Attack(
        "hard-link-through-link",
        lambda v: [tar(symlink(b"d", v), hard_link(b"h", b"d/file", mode=0o777))],
        "entry 'h'",
    ),
    Attack(
        "hard-link-to-link",
        lambda v: [tar(symlink(b"s", v + b"/file"), hard_link(b"h", b"s")), tar(file(b"h", b"x"))],
    ),
    Attack("dots-in-name", lambda v: [tar(file(up(v) + b"/file", b"evil"))], "'..'"),
    Attack("absolute-name", lambda v: [tar(file(v + b"/file", b"inside"))]),
    Attack("zero-byte", lambda _: [tar(pax({b"path": b"a\0b"}), file(b"f"))], "zero byte"),
    Attack(
        "whiteout-through-link",
        lambda v: [tar(symlink(b"l", v)), tar(file(b"l/.wh.file"), file(b"l/.wh..wh..opq"))],
    ),
    Attack("whiteout-of-dots", lambda _: [tar(file(b"d/f")), tar(file(b"d/.wh..."))], "whiteout"),
    Attack("whiteout-of-nothing", lambda _: [tar(file(b"d/f")), tar(file(b"d/.wh."))], "whiteout"),
    Attack("whiteout-by-dots", lambda v: [tar(file(b"a")), tar(file(up(v) + b"/.wh.file"))], "'..'"),
    Attack(
        "whiteout-below-new-link",
        lambda _: [tar(file(b"old/a"), file(b"new/a")), tar(symlink(b"old", b"new"), file(b"old/.wh.a"))],
    ),
    Attack(
        "whiteouts-of-any-type",
        lambda v: [
            tar(file(b"a"), file(b"b"), file(b"d/c")),
            tar(symlink(b".wh.a", v), hard_link(b".wh.b", v), device(b"d/.wh..wh..opq", 1, 1)),
        ],
    ),
    Attack(
        "sparse-of-exabytes",
        lambda _: [tar(pax({b"GNU.sparse.size": b"%d" % (1 << 60), b"GNU.sparse.map": b"0,0"}), file(b"f"))],
        "larger than",
    ),
    Attack("huge-header", lambda _: [tar(header(b"x", kind=b"x", size=1 << 40))], "exceed"),
    Attack("negative-size", lambda _: [tar(header(b"f", fields={(124, 136): base256(-1, 12)}))], "size"),
    Attack("owner-minus-one", lambda _: [tar(file(b"f", uid=2**32 - 1))], "out of range"),
    Attack(
        "smuggled-entry",
        lambda _: [tar(pax({b"size": b"1024"}) + header(b"carrier") + file(b"smuggled", b"evil"))],
    ),
    Attack("size-of-a-link", lambda _: [tar(pax({b"size": b"512"}), symlink(b"l", b"x"))], "has a size"),
    Attack(
        "attributes-of-overlays",
        lambda _: [tar(pax(OVERLAY), directory(b"d"), pax(OVERLAY), file(b"d/f", b"x"))],
    ),
    Attack(
        "labels-of-the-host",
        lambda _: [
            tar(pax({b"SCHILY.xattr.security.selinux": b"x", b"SCHILY.xattr.security.ima": b"x"}), file(b"f"))
        ],
    ),
    Attack("escape-sequences", lambda _: [tar(header(b"\x1b[31mred\xff\n", kind=b"Z"))], "\\x1b[31mred"),
    Attack(
        "loop-of-links",
        lambda _: [tar(symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x"))],
        "symbolic links",
    ),
    Attack(
        "link-into-proc",
        lambda _: [tar(symlink(b"l", b"/proc/self/root"), file(b"l/file", b"evil"))],
        "entry 'l/file'",
    ),
    Attack("deep", lambda _: [tar(gnu_long(b"d/" * 1500 + b"f"), file(b"f"))], "components"),
    Attack("long-path", lambda _: [tar(gnu_long(b"/".join([b"n" * 200] * 15)), file(b"f", b"x"))]),
    Attack("wrong-diff-id", lambda _: [Layer(tar(file(b"f")), diff_id="sha256:" + "0" * 64)], "diff ID"),
    Attack("truncated", lambda _: [Layer(tar(file(b"f", os.urandom(3000)))[:1500], "none")], "middle"),
    Attack(
        "set-id-and-devices",
        lambda _: [tar(file(b"su", b"x", mode=0o6755), device(b"mem", 1, 1, mode=0o666))],
    ),
]


def layers_of(attack: Attack, victim: Path) -> list[bytes | Layer]:
    """The layers against this victim."""
    return attack.layers(os.fsencode(victim))
