"""Further bundles of a known image, before anything is imported that would take longer than the mount.

After a bundle was made with --snapshot, its documents are kept with the command line that asked for them.
The same command line with another bundle at its end, on the same index.json and in the same boot of the
machine, means the same documents and the same prepared image.  Anything else is not known, and the usual way
is taken.

No json, re, hashlib or argparse here: each costs more than the bundle.
"""

from __future__ import annotations

import binascii
import fcntl
import os

from oci_image.layers.openat2 import rename_without_replacing
from oci_image.layers.staging import clean_staging, make_staging, remove_staging
from oci_image.snapshots.overlay import BUNDLE_CONTENT, BUNDLE_FILE, make_overlay, why_not_here
from oci_image.snapshots.place import (
    TREES,
    Prepared,
    boot_id,
    default_location,
    is_ready,
    lower_of,
    why_not_trusted,
    write_note,
)

_FIELDS = ("request", "boot", "layout", "index", "image", "form", "config.json", BUNDLE_FILE, "said")
_MAX_BYTES = 16 << 20


def read_index_bytes(layout: str) -> bytes:
    """index.json as it stands, to be remembered; b"" if it cannot be read: unpacking says what is wrong."""
    try:
        with open(os.path.join(layout, "index.json"), "rb") as file:
            return file.read()
    except OSError:
        return b""


def remember(
    argv: list[str], layout: str, index: bytes, snapshot: dict[str, str], bundle: str, said: str
) -> None:
    """Keep what a command line led to; `said` is its output with a zero byte where the bundle's path was."""
    location = snapshot["directory"]
    if argv[-1].startswith("-") or _location(argv) != location:
        return
    documents = []
    for name in ("config.json", BUNDLE_FILE):
        with open(os.path.join(bundle, name), "rb") as file:
            documents.append(file.read())
    fields = [
        _request(argv), os.fsencode(boot_id()), os.fsencode(os.path.abspath(layout)), index,
        os.fsencode(snapshot["image"]), os.fsencode(snapshot["form"]), *documents, os.fsencode(said),
    ]  # fmt: skip
    os.makedirs(os.path.join(location, "known"), 0o700, exist_ok=True)
    path = _path(location, fields[0])
    with open(f"{path}.{os.getpid()}", "wb") as file:
        file.writelines(b"%d\n" % len(field) + field for field in fields)
    os.replace(f"{path}.{os.getpid()}", path)


def unpack_known(argv: list[str]) -> str | None:
    """Make the bundle that a known command line asks for; what to print, None if it is not known.

    Raises: OSError and SnapshotError, after which nothing is left and the usual way finds the words.
    """
    if len(argv) < 3 or argv[0] != "unpack" or argv[-1].startswith("-") or why_not_here():
        return None
    location = _location(argv)
    if why_not_trusted(location):
        return None
    request = _request(argv)
    known = _read(_path(location, request))
    if known is None or known["request"] != request or known["boot"] != os.fsencode(boot_id()):
        return None
    with open(os.path.join(os.fsdecode(known["layout"]), "index.json"), "rb") as file:
        if file.read(_MAX_BYTES) != known["index"]:
            return None
    bundle = os.path.abspath(argv[-1])
    if os.path.lexists(bundle):
        return None
    lock = os.open(os.path.join(location, "lock"), os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        key, form = os.fsdecode(known["image"]), os.fsdecode(known["form"])
        if not is_ready(location, key, form):
            return None
        _make(Prepared(key, form, lower_of(location, key, form)), location, bundle, known)
    finally:
        os.close(lock)
    return os.fsdecode(known["said"]).replace("\0", bundle)


def _make(prepared: Prepared, location: str, bundle: str, known: dict[str, bytes]) -> None:
    parent, name = os.path.split(bundle)
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        clean_staging(parent_fd, BUNDLE_CONTENT)
        staging, fd = make_staging(parent_fd, name)
        try:
            path = os.path.join(parent, staging)
            make_overlay(prepared, path)
            for document in ("config.json", BUNDLE_FILE):
                with open(os.path.join(path, document), "xb") as file:
                    file.write(known[document])
            write_note(location, os.path.join(os.path.realpath(parent), name), path, prepared.key)
            rename_without_replacing(parent_fd, staging, name)
        except BaseException:
            remove_staging(parent_fd, staging, fd)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(parent_fd)


def _location(argv: list[str]) -> str:
    """The directory of snapshots that a command line names."""
    for position, word in enumerate(argv):
        if word == "--snapshots" and position + 1 < len(argv):
            return os.path.abspath(argv[position + 1])
        if word.startswith("--snapshots="):
            return os.path.abspath(word.partition("=")[2])
    return default_location()


def _request(argv: list[str]) -> bytes:
    """All that a command line means beside the bundle at its end."""
    # The name of an image means a layout in a directory if there is one, and else what the store has.
    places = [os.environ.get("OCI_IMAGE_STORE", ""), *map(_has_directory, argv[:-1])]
    return os.fsencode("\0".join([TREES, os.getcwd(), str(os.geteuid()), *places, *argv[:-1]]))


def _has_directory(word: str) -> str:
    name = word.removeprefix("--image=").partition("@")[0]
    head, slash, last = name.rpartition("/")
    return str(int(os.path.isdir(head + slash + last.partition(":")[0])))


def _path(location: str, request: bytes) -> str:
    return os.path.join(location, "known", f"{binascii.crc32(request):08x}")


def _read(path: str) -> dict[str, bytes] | None:
    try:
        with open(path, "rb") as file:
            return {name: file.read(int(file.readline())) for name in _FIELDS}
    except (FileNotFoundError, ValueError):
        return None
