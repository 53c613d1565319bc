"""Compare two directory trees in everything that an unpacked image consists of.

Run as a program it prints the differences: compare_trees.py TREE TREE
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Node:
    """Everything about one path that unpacking decides."""

    kind: str
    mode: int
    owner: tuple[int, int]
    size: int
    content: str
    mtime_ns: int
    device: int
    xattrs: tuple[tuple[str, bytes], ...]
    links: tuple[str, ...]


def read_tree(root: str) -> dict[str, Node]:
    """All paths of a tree, "." included."""
    found: dict[str, os.stat_result] = {".": os.lstat(root)}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, root)] = os.lstat(path)
    groups: dict[int, list[str]] = {}
    for path, status in found.items():
        if not stat.S_ISDIR(status.st_mode):
            groups.setdefault(status.st_ino, []).append(path)
    return {path: _node(root, path, status, groups) for path, status in found.items()}


def _node(root: str, path: str, status: os.stat_result, groups: dict[int, list[str]]) -> Node:
    full = os.path.join(root, path)
    content = ""
    if stat.S_ISREG(status.st_mode):
        with open(full, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(full)
    xattrs = {
        name: os.getxattr(full, name, follow_symlinks=False)
        for name in os.listxattr(full, follow_symlinks=False)
    }
    return Node(
        kind=stat.filemode(status.st_mode)[0],
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        size=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
        content=content,
        mtime_ns=status.st_mtime_ns,
        device=status.st_rdev,
        xattrs=tuple(sorted(xattrs.items())),
        links=tuple(sorted(groups.get(status.st_ino, ()))) if not stat.S_ISDIR(status.st_mode) else (),
    )


def differences(one: str, other: str) -> list[tuple[str, str, object, object]]:
    """(path, property, value in `one`, value in `other`) of each difference; "exists" for a missing path."""
    left, right = read_tree(one), read_tree(other)
    result: list[tuple[str, str, object, object]] = [
        (path, "exists", path in left, path in right) for path in sorted(left.keys() ^ right.keys())
    ]
    for path in sorted(left.keys() & right.keys()):
        mine, theirs = asdict(left[path]), asdict(right[path])
        result += [(path, name, mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]]
    return result


if __name__ == "__main__":
    found = differences(sys.argv[1], sys.argv[2])
    for difference in found:
        sys.stdout.write("{}: {}: {!r} != {!r}\n".format(*difference))
    sys.exit(1 if found else 0)
