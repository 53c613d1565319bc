"""/proc/PID/mountinfo, as far as checks ask for it."""

from dataclasses import dataclass

from conformance.expect import BrokenError


@dataclass(frozen=True)
class Mount:
    """One mount: where, its own flags, its propagation tags, its type, and the options of the file system."""

    point: str
    flags: frozenset[str]
    tags: frozenset[str]
    kind: str
    data: frozenset[str]


def mounts_of(mountinfo: str) -> list[Mount]:
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        tags = frozenset(tag.partition(":")[0] for tag in words[6:])
        found.append(
            Mount(words[4], frozenset(words[5].split(",")), tags, rest[0], frozenset(rest[2].split(",")))
        )
    return found


def topmost(mountinfo: str, point: str) -> Mount:
    """The last mount at a place.

    Raises:
        BrokenError: nothing is mounted there.
    """
    found = [mount for mount in mounts_of(mountinfo) if mount.point == point]
    if not found:
        raise BrokenError(f"nothing is mounted at {point}")
    return found[-1]
