"""Paths inside a root, of which the last part may not be there yet."""

from __future__ import annotations

import os
import stat

from oci_image.errors import ImageError
from oci_image.layers.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_MAX_LINKS = 40  # of one resolution, as the kernel


def canonical_path(root_fd: int, path: str) -> tuple[str, bool]:
    """A path inside a root without links in it, and whether it is there; ImageError for endless links."""
    todo = [part for part in path.split("/") if part not in ("", ".")]
    todo.reverse()
    done: list[str] = []
    there = True
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        full = "/".join([*done, part])
        try:
            fd = openat2(
                root_fd, os.fsencode(full), os.O_PATH | os.O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            )
        except OSError:
            there = False
            done.append(part)
            continue
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise ImageError("too many levels of symbolic links", where=path)
                target = os.readlink("", dir_fd=fd)
                done = [] if target.startswith("/") else done
                todo += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
            else:
                done.append(part)
        finally:
            os.close(fd)
    return "/".join(done), there
