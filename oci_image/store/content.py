"""The content store: an OCI image layout that many processes read and write at once.

    oci-layout, index.json, blobs/<algorithm>/<hex>    as the specification has them
    .partial/                                          blobs that have not arrived completely

Locks are flock(2) on directories, so a killed process leaves none.  Who changes index.json holds the
layout's own directory exclusively, for as long as that takes.  Who adds blobs that nothing refers to yet
holds `blobs` shared until the index names them (`Store.adding`); collecting garbage needs `blobs`
exclusively, and therefore waits for them.  Files get their final names by rename after fsync, blobs before the
documents that refer to them: a kill at any moment leaves a layout without faults.

Source: image-spec image-layout.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat

from oci_image.errors import ImageError
from oci_image.model.descriptor import Descriptor
from oci_image.model.document import parse_document
from oci_image.model.registry_reference import same_name
from oci_image.store.blob_writer import PARTIAL, BlobWriter, open_directory
from oci_image.store.layout import REF_NAME, Layout
from oci_image.store.reachable import reachable_digests
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    from oci_image.model.digest import Digest

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
Entry: TypeAlias = "dict[str, Any]"
_UNFINISHED = (".index.json-", ".oci-layout-")  # what a kill in `_replace` leaves


def default_store_path() -> str:
    """$OCI_IMAGE_STORE, or the place for this user."""
    named = os.environ.get("OCI_IMAGE_STORE")
    if named:
        return named
    if os.geteuid() == 0:
        return "/var/lib/oci-image/store"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "oci-image", "store")


def create_layout(path: str, *, exist_ok: bool = True) -> None:
    """Make an empty image layout of the directory `path`, and its parents.

    Raises: ImageError if it is something else, or with `exist_ok` false if it is there.
    """
    try:
        os.makedirs(os.path.join(path, "blobs", "sha256"), exist_ok=True)
        fd = os.open(path, _DIRECTORY)
    except OSError as error:
        raise ImageError(f"cannot make image layout: {errno_text(error.errno or 0)}", where=path) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        names = set(os.listdir(fd))
        if "oci-layout" in names and not exist_ok:
            raise ImageError("image layout already exists", where=path)
        foreign = {name for name in names if not name.startswith(_UNFINISHED)} - {
            "blobs",
            "index.json",
            PARTIAL,
        }
        if foreign and "oci-layout" not in names:
            raise ImageError("directory is not empty and no image layout", where=path)
        if "index.json" not in names:
            empty = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
            _replace(fd, "index.json", json.dumps(empty).encode())
        if "oci-layout" not in names:
            _replace(fd, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    finally:
        os.close(fd)


class Store(Layout):
    """An image layout that can be written to; a context manager.  Threads may share it."""

    @classmethod
    def open(cls, path: str, *, create: bool = False) -> Store:
        """The store in the directory `path`; with `create` an empty one is made if none is there."""
        if create and not os.path.exists(os.path.join(path, "oci-layout")):
            create_layout(path)
        return cls(path)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there, with the right size if one is given; its bytes are not read."""
        try:
            found = os.stat(
                f"blobs/{digest.algorithm}/{digest.encoded}", dir_fd=self._fd, follow_symlinks=False
            )
        except OSError:
            return False
        return size is None or found.st_size == size

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """Keep blobs that nothing refers to yet from being collected; until the block ends."""
        with self._locked("blobs", fcntl.LOCK_SH):
            yield

    def write_blob(self, digest: Digest | None = None, size: int | None = None) -> BlobWriter:
        """A writer for one blob.  Use it inside of `adding`."""
        return BlobWriter(self._fd, digest, size)

    def put_blob(self, data: bytes, media_type: str) -> Descriptor:
        """Store bytes; their descriptor.  Use it inside of `adding`."""
        with self.write_blob() as writer:
            writer.write(data)
            digest, size = writer.commit()
        return Descriptor(media_type, digest, size)

    def put_document(self, value: dict[str, Any], media_type: str) -> Descriptor:
        """Store a JSON document; its descriptor.  The same value always gives the same bytes."""
        return self.put_blob(json.dumps(value, separators=(",", ":"), sort_keys=True).encode(), media_type)

    def entries(self) -> list[Entry]:
        """The descriptors of index.json as they stand there, unknown properties included."""
        self.index()  # refuses what is malformed
        value = parse_document(self._read("index.json"), where=os.path.join(self.path, "index.json"))
        return list(value.get("manifests") or [])

    def find(self, name: str) -> Descriptor:
        """The entry that `name` means: a name, the same without what Docker fills in, or a digest's begin.

        Raises: ImageError if there is none, or several.
        """
        entries = self.index().manifests
        digits = name.removeprefix("sha256:").rpartition("@sha256:")[2]
        by_digest = [
            entry for entry in entries if len(digits) >= 6 and entry.digest.encoded.startswith(digits)
        ]
        found = [entry for entry in entries if entry.annotations.get(REF_NAME) == name]
        found = found or [entry for entry in entries if same_name(entry.annotations.get(REF_NAME, ""), name)]
        found = found or by_digest or [entry for entry in entries if _ends_with(entry, name)]
        if not found:
            raise ImageError(
                f"no such image: {name}", where=self.path, hint="oci-image list shows the images there are"
            )
        if len({entry.digest for entry in found}) > 1:
            choices = ", ".join(str(entry.digest) for entry in found)
            raise ImageError(f"image {name!r} is ambiguous", where=self.path, hint=f"choose: {choices}")
        return found[0]

    def change_index(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        """Replace the list of index.json by what `change` makes of it, while nobody else can."""
        with self._locked(".", fcntl.LOCK_EX):
            self.index()
            where = os.path.join(self.path, "index.json")
            value = parse_document(self._read("index.json"), where=where)
            value["manifests"] = change(list(value.get("manifests") or []))
            _replace(self._fd, "index.json", json.dumps(value, indent=1).encode())

    def tag(self, entry: Entry | Descriptor, name: str) -> None:
        """Let `name` mean the manifest or index `entry`; whatever had the name loses it.

        An image that loses its last name stays in the index without one, until `remove`.
        """
        wanted = entry.to_entry() if isinstance(entry, Descriptor) else dict(entry)
        annotations = {**(wanted.get("annotations") or {}), REF_NAME: name}

        def put(entries: list[Entry]) -> list[Entry]:
            kept = [_renamed(old, name) for old in entries if not _nameless_same(old, wanted)]
            named = {old["digest"] for old in kept if name_of(old)}
            kept = [old for old in kept if name_of(old) or old["digest"] not in named | {wanted["digest"]}]
            return [*kept, {**wanted, "annotations": annotations}]

        self.change_index(put)

    def add_nameless(self, entry: Entry | Descriptor) -> None:
        """Keep a manifest without a name, such as a referrer; nothing happens if the index has it."""
        wanted = entry.to_entry() if isinstance(entry, Descriptor) else dict(entry)
        if name := name_of(wanted):  # which it has elsewhere
            wanted = _renamed(wanted, name)
        self.change_index(
            lambda entries: (
                entries if any(old["digest"] == wanted["digest"] for old in entries) else [*entries, wanted]
            )
        )

    def remove(self, reference: str) -> list[Entry]:
        """Take the name `reference`, or every entry of the digest `reference`, out of the index.

        The blobs stay until `collect`.  Returns what was removed.  Raises: ImageError if there is none.
        """
        removed: list[Entry] = []

        def drop(entries: list[Entry]) -> list[Entry]:
            removed.extend(old for old in entries if reference in (name_of(old), old["digest"]))
            if not removed:
                raise ImageError(f"image layout has no image {reference!r}", where=self.path)
            return [old for old in entries if old not in removed]

        self.change_index(drop)
        return removed

    def remove_image(self, name: str) -> list[Entry]:
        """Take what `find` finds under a name out of the index: that name, or given a digest all of the image's.

        The blobs stay until `collect`.  Returns what was removed.  Raises: ImageError.
        """
        entry = self.find(name)
        named = entry.annotations.get(REF_NAME, "")
        by_digest = entry.digest.encoded.startswith(name.removeprefix("sha256:"))
        return self.remove(str(entry.digest) if by_digest or not named else named)

    def collect(self, *, dry_run: bool = False) -> tuple[list[str], int]:
        """Remove blobs that nothing refers to, and what broken transfers left; digests and bytes.

        Waits until nobody adds blobs.  If any document that is referred to cannot be understood, nothing is
        removed.
        """
        removed, size = [], 0
        with self._locked(".", fcntl.LOCK_EX), self._locked("blobs", fcntl.LOCK_EX):
            live = reachable_digests(self)
            for algorithm, directory_fd in self._blob_directories():
                for encoded in sorted(os.listdir(directory_fd)):
                    digest = f"{algorithm}:{encoded}"
                    found = os.stat(encoded, dir_fd=directory_fd, follow_symlinks=False)
                    if digest in live or stat.S_ISDIR(found.st_mode):
                        continue
                    removed.append(digest)
                    size += found.st_size
                    if not dry_run:
                        os.unlink(encoded, dir_fd=directory_fd)
            if not dry_run:
                self._drop_partial()
        return removed, size

    def blobs(self) -> Iterator[tuple[str, str, int]]:
        """Digest, path in the layout and size in bytes of every blob there is."""
        for algorithm, directory_fd in self._blob_directories():
            for encoded in sorted(os.listdir(directory_fd)):
                size = os.stat(encoded, dir_fd=directory_fd, follow_symlinks=False).st_size
                yield f"{algorithm}:{encoded}", f"blobs/{algorithm}/{encoded}", size

    def _blob_directories(self) -> Iterator[tuple[str, int]]:
        """Each algorithm there are blobs of, and its directory, which is open until the next step."""
        for algorithm in sorted(self._names_in("blobs")):
            with self._directory(f"blobs/{algorithm}") as fd:
                yield algorithm, fd

    def _names_in(self, name: str) -> list[str]:
        with self._directory(name) as fd:
            return os.listdir(fd)

    @contextlib.contextmanager
    def _directory(self, name: str) -> Iterator[int]:
        try:
            fd = open_directory(self._fd, name)
        except FileNotFoundError:
            raise
        except OSError:
            raise ImageError(f"{name} of the image layout is not a directory", where=self.path) from None
        try:
            yield fd
        finally:
            os.close(fd)

    def _drop_partial(self) -> None:
        for name in os.listdir(self._fd):
            if name.startswith(_UNFINISHED):
                os.unlink(name, dir_fd=self._fd)
        try:
            with self._directory(PARTIAL) as fd:
                for name in os.listdir(fd):
                    os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            return

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        # A descriptor of its own for each lock: flock knows open files, so threads exclude each other too.
        fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        try:
            fcntl.flock(fd, how)
            yield
        finally:
            os.close(fd)


def name_of(entry: Entry) -> str:
    """The name that an entry of index.json has, "" if it has none."""
    return (entry.get("annotations") or {}).get(REF_NAME) or ""


def _ends_with(entry: Descriptor, name: str) -> bool:
    """Whether a name without a host is the end of the entry's name, wherever that was pulled from."""
    tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    host, slash, path = entry.annotations.get(REF_NAME, "").partition("/")
    return bool(host and slash) and (path == tagged or path.endswith(f"/{tagged}"))


def _renamed(entry: Entry, taken: str) -> Entry:
    """The entry, without its name if that is now another's."""
    if name_of(entry) != taken:
        return entry
    annotations = {key: value for key, value in entry["annotations"].items() if key != REF_NAME}
    rest = {key: value for key, value in entry.items() if key != "annotations"}
    return {**rest, "annotations": annotations} if annotations else rest


def _nameless_same(entry: Entry, wanted: Entry) -> bool:
    return not name_of(entry) and entry["digest"] == wanted["digest"]


def _replace(directory_fd: int, name: str, data: bytes) -> None:
    """Write a file so that there is always the old or the new one, also after a power cut."""
    temporary = f".{name}-{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, 0o644, dir_fd=directory_fd)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        os.fsync(directory_fd)
    except BaseException as error:
        try:
            os.unlink(temporary, dir_fd=directory_fd)
        except FileNotFoundError:
            pass
        if isinstance(error, OSError):
            raise ImageError(f"cannot write {name}: {errno_text(error.errno or 0)}") from error
        raise
