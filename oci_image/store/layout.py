"""The OCI image layout: a directory with oci-layout, index.json and blobs/.

Everything is opened relative to one descriptor of the directory and nothing outside it can be reached,
whatever links the layout holds.

Source: image-spec image-layout.md.
"""

from __future__ import annotations

import os
import stat

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from oci_image.model.document import MAX_DOCUMENT_BYTES, parse_document, text_of
from oci_image.model.index import decode_index
from oci_image.model.media_types import INDEXES, MANIFESTS, essence
from oci_image.store.verified import VerifiedReader
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.index import Index
    from oci_image.model.platform import Platform
    from oci_image.model.reference import Reference

REF_NAME = "org.opencontainers.image.ref.name"
_MAX_DEPTH = 8  # of nested indexes; more than two levels have not been seen in the wild
_MAX_VISITED = 1000


class Layout:
    """An open image layout; a context manager."""

    def __init__(self, path: str) -> None:
        """Open the layout directory `path`; ImageError if it is not one."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ImageError(
                f"cannot open image layout: {errno_text(error.errno or 0)}", where=path
            ) from None
        try:
            where = os.path.join(path, "oci-layout")
            version = text_of(
                parse_document(self._read("oci-layout"), where=where), "imageLayoutVersion", where=where
            )
            if version != "1.0.0":
                raise ImageError(f"image layout has the version {version!r}, not '1.0.0'", where=where)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the directory's descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def index(self) -> Index:
        """index.json."""
        return decode_index(self._read("index.json"), where=os.path.join(self.path, "index.json"))

    def open_blob(self, descriptor: Descriptor) -> VerifiedReader:
        """The blob of `descriptor`, to be read and verified; its size on disk is checked at once."""
        digest = descriptor.digest
        fd = self._open(f"blobs/{digest.algorithm}/{digest.encoded}")
        size = os.fstat(fd).st_size
        if size != descriptor.size:
            os.close(fd)
            raise IntegrityError(
                f"blob has {size} bytes, its descriptor says {descriptor.size}", where=str(digest)
            )
        return VerifiedReader(fd, descriptor)

    def read_document(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or config, verified."""
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise ImageError(
                f"document of {descriptor.size} bytes is larger than {MAX_DOCUMENT_BYTES}",
                where=str(descriptor.digest),
            )
        reader = self.open_blob(descriptor)
        try:
            pieces = []
            while piece := reader.read():
                pieces.append(piece)
            reader.finish()
        finally:
            reader.close()
        return b"".join(pieces)

    def resolve(self, reference: Reference, platform: Platform) -> tuple[Descriptor, ...]:
        """The chain of descriptors from index.json to the manifest that `reference` means on `platform`.

        The last descriptor is the manifest's; those before it are the nested indexes on the way.
        """
        chain = [self.entry_of(reference)]
        while essence(chain[-1].media_type) in INDEXES:
            chain.append(self._choose(chain[-1], platform, len(chain), [0]))
        if essence(chain[-1].media_type) not in MANIFESTS:
            raise ImageError(
                f"{reference} is not an image: media type {chain[-1].media_type!r}",
                where=str(chain[-1].digest),
            )
        return tuple(chain)

    def entry_of(self, reference: Reference) -> Descriptor:
        """The descriptor in index.json that `reference` means; ImageError if there is none or are several."""
        entries = self.index().manifests
        if reference.position is not None:
            if reference.position >= len(entries):
                raise ImageError(
                    f"image layout has no image at {reference}", where=self.path, hint=_names(entries)
                )
            return entries[reference.position]
        if reference.digest:
            for entry in entries:
                if entry.digest == reference.digest:
                    return entry
            raise ImageError(f"image layout has no image {reference}", where=self.path, hint=_names(entries))
        if not reference.tag and len(entries) == 1:
            return entries[0]
        tag = reference.tag or "latest"
        found = [entry for entry in entries if entry.annotations.get(REF_NAME) == tag]
        if not found:
            raise ImageError(
                f"image layout has no image with tag {tag!r}", where=self.path, hint=_names(entries)
            )
        if len({entry.digest for entry in found}) > 1:
            choices = ", ".join(str(entry.digest) for entry in found)
            raise ImageError(f"tag {tag!r} is ambiguous", where=self.path, hint=f"choose a digest: {choices}")
        return found[0]

    def _choose(self, index: Descriptor, platform: Platform, depth: int, visited: list[int]) -> Descriptor:
        """The entry of a nested index that suits `platform` best; the first one where several do."""
        if depth > _MAX_DEPTH:
            raise ImageError(f"indexes are nested deeper than {_MAX_DEPTH}", where=str(index.digest))
        entries = decode_index(self.read_document(index), where=str(index.digest)).manifests
        best, best_rank = None, 0
        for entry in entries:
            visited[0] += 1
            if visited[0] > _MAX_VISITED:
                raise ImageError(
                    f"more than {_MAX_VISITED} index entries to choose from", where=str(index.digest)
                )
            rank = self._rank(entry, platform)
            if rank > best_rank:
                best, best_rank = entry, rank
        if best is None:
            there = (
                ", ".join(sorted({str(entry.platform) for entry in entries if entry.platform}))
                or "none named"
            )
            raise ImageError(
                f"image has no manifest for platform {platform}",
                where=str(index.digest),
                hint=f"platforms: {there}",
            )
        return best

    def _rank(self, entry: Descriptor, platform: Platform) -> int:
        media_type = essence(entry.media_type)
        if media_type not in MANIFESTS and media_type not in INDEXES:
            return 0
        if entry.platform is not None:
            return entry.platform.suits(platform)
        return 1  # no platform named: better than nothing, worse than any that names the right one

    def _open(self, name: str) -> int:
        try:
            fd = openat2(
                self._fd, name.encode(), os.O_RDONLY | os.O_NONBLOCK, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
            )
        except OSError as error:
            what = f"cannot open {name} of the image layout: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=self.path) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError(f"{name} of the image layout is not a regular file", where=self.path)
        return fd

    def _read(self, name: str) -> bytes:
        fd = self._open(name)
        try:
            if os.fstat(fd).st_size > MAX_DOCUMENT_BYTES:
                raise ImageError(f"{name} is larger than {MAX_DOCUMENT_BYTES} bytes", where=self.path)
            return os.read(fd, MAX_DOCUMENT_BYTES)
        finally:
            os.close(fd)


def _names(entries: tuple[Descriptor, ...]) -> str:
    shown = [entry.annotations.get(REF_NAME) or str(entry.digest) for entry in entries[:10]]
    return "the layout holds: " + (", ".join(shown) or "nothing")
