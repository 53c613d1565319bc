"""Images prepared for mounting, shared by all bundles: how they are made, found, kept apart and removed.

    lock              held shared by whoever prepares or mounts, exclusively by whoever removes
    layers/           plain layers, named by diff ID, shared by all images that have them
    images/KEY/       one prepared image: record.json, and image.erofs and mount/, or tree/
    locks/KEY         held by whoever prepares or mounts this image
    bundles/NAME      which bundle uses which image
    known/NAME        a command line and the documents it led to (snapshots/known.py)

Everything gets its name when it is whole.  Nothing is synced for it: what another boot of the machine has
left is verified by its digests before it is used again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os

from oci_image.errors import SnapshotError
from oci_image.layers.removal import remove_tree
from oci_image.layers.staging import clean_staging
from oci_image.snapshots.mounting import NO_DEVICES, NO_SUID, READ_ONLY, is_mounted, mount, unmount
from oci_image.snapshots.place import (
    Prepared,
    boot_id,
    is_ready,
    lower_of,
    read_notes,
    why_not_trusted,
    write_note,
)
from pyruntime.base.errors import HostError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FORMS = ("erofs", "directory")
STAGED = frozenset((b"record.json", b"image.erofs", b"mount", b"tree"))
_PRIVATE = 0o700


class SnapshotCache:
    """The directory of prepared images; a context manager that holds it open, and shared."""

    def __init__(self, path: str, *, exclusive: bool = False) -> None:
        """Open it, made if it is not there; raises HostError."""
        self.path = os.path.abspath(path)
        try:
            _make_parents(self.path)
            for name in ("", "layers", "images", "locks", "bundles", "known"):
                os.makedirs(os.path.join(self.path, name), _PRIVATE, exist_ok=True)
            if reason := why_not_trusted(self.path):
                raise HostError(
                    f"the directory of snapshots {reason}",
                    where=self.path,
                    hint="its content becomes file systems of containers: give it to its user alone, mode 0700",
                )
            self._fd = os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"cannot use the directory of snapshots: {errno_text(error.errno or 0)}"
            raise HostError(what, where=self.path, hint="choose another one with --snapshots") from None
        fcntl.flock(self._fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)

    def __enter__(self) -> SnapshotCache:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def layer_path(self, digest: object) -> str:
        """Where the plain layer with this diff ID is, or will be."""
        return os.path.join(self.path, "layers", str(digest).replace(":", "-"))

    def image_path(self, key: str) -> str:
        """Where the image `key` is, or will be."""
        return os.path.join(self.path, "images", key)

    @contextlib.contextmanager
    def image_lock(self, key: str) -> Iterator[None]:
        """Only one at a time prepares or mounts the image `key`."""
        fd = os.open(os.path.join(self.path, "locks", key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def find(self, key: str) -> Prepared | None:
        """The prepared image, mounted where its form needs that; None if there is none that is whole.

        The caller holds the image's lock.
        """
        path = self.image_path(key)
        try:
            with open(os.path.join(path, "record.json"), encoding="utf-8") as file:
                record: dict[str, Any] = json.load(file)
            if record["boot"] != boot_id():
                self._verify_after_boot(path, record)
            prepared = self._ready(path, key, record)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, _StaleError):
            self.remove_image(key)
            return None
        return prepared

    def _ready(self, path: str, key: str, record: dict[str, Any]) -> Prepared:
        form = record["form"]
        lower = lower_of(self.path, key, form)
        if not is_ready(self.path, key, form):
            if form != "erofs":
                raise _StaleError
            self.mount_image(os.path.join(path, "image.erofs"), lower, record["layers"])
        return Prepared(key, form, lower, tuple(record["notices"]))

    def mount_image(self, image: str, target: str, layers: list[dict[str, Any]]) -> None:
        """Mount an EROFS image over its plain layers; raises OSError."""
        options = ",".join("device=" + self.layer_path(layer["digest"]) for layer in layers)
        mount(image, target, "erofs", READ_ONLY | NO_SUID | NO_DEVICES, options)

    def _verify_after_boot(self, path: str, record: dict[str, Any]) -> None:
        """Files that were not synced may have lost content in a crash; find out, once."""
        if record["form"] == "erofs":
            if _hash(os.path.join(path, "image.erofs"), "sha256", None) != record["image"]:
                raise _StaleError
            for layer in record["layers"]:
                algorithm, _, encoded = layer["digest"].partition(":")
                if _hash(self.layer_path(layer["digest"]), algorithm, layer["size"]) != encoded:
                    os.unlink(self.layer_path(layer["digest"]))
                    raise _StaleError
        write_record(path, {**record, "boot": boot_id()})

    def note_bundle(self, bundle: str, key: str, growing: str = "") -> None:
        """Remember that the bundle directory `bundle` needs the image `key`.

        `growing` is where the bundle is before it gets its name.
        """
        if growing or not any(note[1:3] == (key, bundle) for note in read_notes(self.path)):
            write_note(self.path, bundle, growing, key)

    def forget_bundle(self, bundle: str) -> None:
        """The bundle is no more."""
        for path, _, noted, _ in read_notes(self.path):
            if noted == bundle:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def images(self) -> list[dict[str, Any]]:
        """What is prepared: key, form, layers, and the bundles that use it."""
        users = self._users()
        found = []
        for key in sorted(os.listdir(os.path.join(self.path, "images"))):
            try:
                with open(os.path.join(self.image_path(key), "record.json"), encoding="utf-8") as file:
                    record = json.load(file)
                found.append(
                    {"image": key, "form": record["form"], "layers": [x["digest"] for x in record["layers"]],
                     "bundles": sorted(users.get(key, []))}
                )  # fmt: skip
            except (OSError, ValueError, KeyError):
                continue
        return found

    def collect_garbage(self) -> list[str]:
        """Remove images that no bundle uses, layers that no image uses, and what dead processes left.

        Needs the exclusive lock.  Returns the keys of the images.
        """
        with contextlib.closing(_Directory(os.path.join(self.path, "images"))) as images:
            clean_staging(images.fd, STAGED)
        self._drop_unfinished_notes()
        keys = os.listdir(os.path.join(self.path, "images"))
        used = self._users().keys() | self._mounted(keys)
        removed = [key for key in keys if key not in used and self.remove_image(key)]
        kept = {layer.replace(":", "-") for image in self.images() for layer in image["layers"]}
        for name in os.listdir(os.path.join(self.path, "layers")):
            if name not in kept:
                os.unlink(os.path.join(self.path, "layers", name))
        for name in os.listdir(os.path.join(self.path, "locks")):
            os.unlink(os.path.join(self.path, "locks", name))
        for name in os.listdir(os.path.join(self.path, "known")):
            os.unlink(os.path.join(self.path, "known", name))
        return sorted(removed)

    def remove_image(self, key: str) -> bool:
        """Remove a prepared image; False if it is in use after all."""
        path = self.image_path(key)
        if is_mounted(os.path.join(path, "mount")):
            try:
                unmount(os.path.join(path, "mount"))
            except OSError:
                return False
        directory = _Directory(os.path.join(self.path, "images"))
        with contextlib.closing(directory) as images, contextlib.suppress(FileNotFoundError):
            remove_tree(images.fd, os.fsencode(key), device=os.fstat(images.fd).st_dev)
        return True

    def _drop_unfinished_notes(self) -> None:
        """Notes whose writers died; with the exclusive lock there are no others."""
        for path, *_ in read_notes(self.path):
            if path.endswith(".new"):
                os.unlink(path)

    def _mounted(self, keys: list[str]) -> set[str]:
        """The images that overlays of this mount namespace stand on: a bundle may have been moved since its note."""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            overlays = "".join(line for line in file if " - overlay " in line)
        return {key for key in keys if f"/images/{key}/" in overlays}

    def _users(self) -> dict[str, list[str]]:
        """The bundles that are still there, by the image they use."""
        found: dict[str, list[str]] = {}
        for path, key, bundle, growing in read_notes(self.path):
            if any(place and os.path.isdir(os.path.join(place, "upper")) for place in (bundle, growing)):
                found.setdefault(key, []).append(bundle)
            elif not path.endswith(".new"):  # which is being written
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        return found


def _make_parents(path: str) -> None:
    """The directories above `path`, which others may read and not change, whatever the umask."""
    parent = os.path.dirname(path)
    if os.path.isdir(parent):
        return
    _make_parents(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(parent, 0o755)


class _StaleError(Exception):
    """A prepared image is not what it was."""


class _Directory:
    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)


def write_record(directory: str, record: dict[str, Any]) -> None:
    """Write or replace the record of a prepared image."""
    _write(os.path.join(directory, "record.json"), record)


def _write(path: str, value: dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(temporary, path)


def _hash(path: str, algorithm: str, size: int | None) -> str:
    """The digest of the first `size` bytes; a plain layer is padded to whole blocks behind them."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        remaining = os.fstat(file.fileno()).st_size if size is None else size
        while remaining and (piece := file.read(min(1 << 20, remaining))):
            digest.update(piece)
            remaining -= len(piece)
    return digest.hexdigest()


def refuse_form(form: str, reason: str) -> SnapshotError:
    """The error for a form that was asked for and cannot be had."""
    return SnapshotError(
        f"cannot mount the image as {form}: {reason}", hint="--snapshot auto takes what works"
    )
