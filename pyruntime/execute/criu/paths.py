"""Where a path of config.json leads in a root filesystem, as text: CRIU knows mounts by that."""

import os

_MOST_LINKS = 255


def path_in_root(rootfs: str, path: str) -> str:
    """The path with every symbolic link of the root filesystem followed, as seen in the container.

    This only names a mount point; nothing is opened by it.
    """
    waiting = [part for part in reversed(path.split("/")) if part]
    parts: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == ".":
            continue
        if part == "..":
            del parts[-1:]
            continue
        try:
            target = os.readlink("/".join([rootfs, *parts, part]))
        except OSError:
            parts.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            return path
        if target.startswith("/"):
            parts = []
        waiting += [step for step in reversed(target.split("/")) if step]
    return "/" + "/".join(parts)
