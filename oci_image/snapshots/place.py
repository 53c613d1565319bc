"""What is where in the directory of prepared images; snapshots/cache.py describes it whole."""

from __future__ import annotations

import os

from oci_image.snapshots.mounting import is_mounted

# Raised whenever the same layers make another tree than before: what an older version prepared is then not used.
TREES = "2"


class Prepared:
    """An image that can be mounted: `lower` is the directory that overlays stand on."""

    __slots__ = ("form", "key", "lower", "notices")

    def __init__(self, key: str, form: str, lower: str, notices: tuple[str, ...] = ()) -> None:
        self.key = key
        self.form = form
        self.lower = lower
        self.notices = notices


def default_location() -> str:
    """Where prepared images are kept unless the caller says otherwise."""
    if os.geteuid() == 0:
        return "/var/lib/oci-image/snapshots"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "oci-image", "snapshots")


def why_not_trusted(location: str) -> str:
    """Why the directory of snapshots cannot be believed; "" if nobody else can change it."""
    status = os.stat(location)
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    return "can be changed by others" if status.st_mode & 0o022 else ""


def lower_of(location: str, key: str, form: str) -> str:
    """The directory that overlays of the image stand on."""
    return os.path.join(location, "images", key, "mount" if form == "erofs" else "tree")


def is_ready(location: str, key: str, form: str) -> bool:
    """Whether the image is prepared and, where its form needs that, mounted."""
    lower = lower_of(location, key, form)
    return is_mounted(lower) if form == "erofs" else os.path.isdir(lower)


def boot_id() -> str:
    """What tells this run of the kernel from all others."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def write_note(location: str, bundle: str, growing: str, key: str) -> None:
    """Remember that the bundle directory `bundle`, as yet at `growing`, needs the image `key`."""
    path = os.path.join(location, "bundles", os.urandom(8).hex())
    with open(f"{path}.new", "wb") as file:
        file.write(b"\0".join(map(os.fsencode, (key, bundle, growing))))
    os.rename(f"{path}.new", path)


def read_notes(location: str) -> list[tuple[str, str, str, str]]:
    """(path of the note, image, bundle, where the bundle grew) of each note."""
    found = []
    directory = os.path.join(location, "bundles")
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        try:
            with open(path, "rb") as file:
                key, bundle, growing = file.read().split(b"\0")
        except FileNotFoundError:
            continue
        except ValueError:  # not finished
            key = bundle = growing = b""
        found.append((path, os.fsdecode(key), os.fsdecode(bundle), os.fsdecode(growing)))
    return found
