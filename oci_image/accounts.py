"""Users and groups of an image: its passwd and group files, read through the door and nowhere else.

A link at etc/passwd leads to a file of the image or nowhere, and what it leads to must be a regular file
of sane size: other tools read the host's file, or an endless device (CVE-2024-9676).
"""

from __future__ import annotations

import os
import stat

from oci_image.errors import ImageError
from oci_image.value import Value
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.layers.rootdir import RootDirectory

_MAX_BYTES = 8 << 20
_MAX_ID = (1 << 32) - 2


class User(Value):
    """Numeric ids; `additional_gids` are the supplementary groups."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()


def resolve_user(text: str, root: RootDirectory) -> User:
    """The ids that `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid` means in the image.

    A name that consists of digits is looked up first, then taken as a number.  Supplementary groups are
    those of the user's name, unless a number or a group was given.

    Raises: ImageError if a name is in neither file, or an id is out of range.
    Source: image-spec conversion.md, "Config.User".
    """
    if not text:
        return User()
    name, colon, group = text.partition(":")
    if not name and not group:
        raise ImageError(f"invalid user {text!r} in the image's config")
    user = _find_user(name, root) if name else ("", 0, 0)
    if not colon or not group:
        supplementary = _groups_of(user[0], user[2], root) if user[0] else ()
        return User(user[1], user[2], supplementary)
    return User(user[1], _find_group(group, root))


def _find_user(name: str, root: RootDirectory) -> tuple[str, int, int]:
    """Name, uid and gid; the name is "" if a mere number was given."""
    for fields in _records(root, b"etc/passwd", 4):
        if fields[0] == name and fields[2].isdecimal() and fields[3].isdecimal():
            found = "" if name.isdecimal() else name
            return found, _id(fields[2], name), _id(fields[3], name)
    if not _is_number(name):
        raise ImageError(f"user {name!r} is not in the image's /etc/passwd")
    number = _id(name, name)
    for fields in _records(root, b"etc/passwd", 4):
        if fields[2].isdecimal() and int(fields[2]) == number and fields[3].isdecimal():
            return "", number, _id(fields[3], name)
    return "", number, 0


def _find_group(name: str, root: RootDirectory) -> int:
    for fields in _records(root, b"etc/group", 3):
        if fields[0] == name and fields[2].isdecimal():
            return _id(fields[2], name)
    if not _is_number(name):
        raise ImageError(f"group {name!r} is not in the image's /etc/group")
    return _id(name, name)


def _groups_of(name: str, primary: int, root: RootDirectory) -> tuple[int, ...]:
    found = set()
    for fields in _records(root, b"etc/group", 4):
        if name in fields[3].split(",") and fields[2].isdecimal():
            found.add(_id(fields[2], fields[0]))
    return tuple(sorted(found - {primary}))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _id(text: str, name: str) -> int:
    number = int(text) if len(text) <= 12 else _MAX_ID + 1
    if number > _MAX_ID:
        raise ImageError(f"id {text[:20]} of {name!r} is out of range", hint=f"the highest id is {_MAX_ID}")
    return number


def _records(root: RootDirectory, path: bytes, least: int) -> list[list[str]]:
    """The lines of a passwd or group file, split; a missing file is an empty one."""
    try:
        # O_PATH opens nothing yet: opening a device may do something, such as starting a watchdog.
        fd = root.open_file(path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ImageError(
            f"cannot open the image's /{path.decode()}: {errno_text(error.errno or 0)}"
        ) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise ImageError(
                f"the image's /{path.decode()} is not a regular file of at most {_MAX_BYTES} bytes"
            )
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            data = file.read(_MAX_BYTES)
    finally:
        os.close(fd)
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    return [fields for line in lines if len(fields := line.strip().split(":")) >= least]
