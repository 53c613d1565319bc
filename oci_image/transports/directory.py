"""`dir:DIRECTORY`: manifest.json, version, and blobs by their bare hex names, as skopeo writes it."""

from __future__ import annotations

import hashlib
import os
import stat

from oci_image.errors import ImageError
from oci_image.model.descriptor import Descriptor
from oci_image.model.digest import Digest
from oci_image.model.document import MAX_DOCUMENT_BYTES, parse_document, text_of
from oci_image.model.media_types import INDEXES, MANIFESTS, essence
from oci_image.transports.interface import PIECE, verified, verify_document
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_VERSION = b"Directory Transport Version: 1.1\n"


def describe_document(data: bytes, *, where: str) -> Descriptor:
    """The descriptor of a manifest or index that nothing points to, its type taken from inside."""
    document = parse_document(data, where=where)
    media_type = essence(text_of(document, "mediaType", where=where))
    if not media_type:
        kind = "index" if "manifests" in document else "manifest"
        media_type = f"application/vnd.oci.image.{kind}.v1+json"
    if media_type not in INDEXES | MANIFESTS:
        raise ImageError(f"unsupported manifest type {media_type!r}", where=where)
    return Descriptor(media_type, Digest("sha256", hashlib.sha256(data).hexdigest()), len(data))


class DirectorySource:
    """The one image of a directory."""

    def __init__(self, path: str) -> None:
        self._path = path

    def root(self) -> tuple[Descriptor, bytes]:
        data = b"".join(self._read("manifest.json", MAX_DOCUMENT_BYTES + 1))
        return describe_document(data, where=os.path.join(self._path, "manifest.json")), data

    def document(self, descriptor: Descriptor) -> bytes:
        name = f"{descriptor.digest.encoded}.manifest.json"
        return verify_document(b"".join(self._read(name, MAX_DOCUMENT_BYTES + 1)), descriptor)

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        return self._read(descriptor.digest.encoded, descriptor.size + 1, offset)

    def _read(self, name: str, limit: int, offset: int = 0) -> Iterator[bytes]:
        path = os.path.join(self._path, name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ImageError(f"cannot open {name}: {errno_text(error.errno or 0)}", where=path) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ImageError(f"{name} is not a regular file", where=path)
            while limit > offset and (data := os.pread(fd, min(PIECE, limit - offset), offset)):
                offset += len(data)
                yield data
        finally:
            os.close(fd)

    def refuse(self, descriptor: Descriptor) -> str:
        del descriptor
        return ""  # there is no other place to have it from

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        del digest  # the format has no place for them
        return ()

    def close(self) -> None:
        pass


class DirectoryDestination:
    """A directory that is new, empty or of the same format."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._root = b""
        try:
            os.makedirs(path, exist_ok=True)
            names = os.listdir(path)
        except OSError as error:
            raise ImageError(f"cannot make directory: {errno_text(error.errno or 0)}", where=path) from None
        if names and "version" not in names:
            raise ImageError("directory is not empty and holds no image", where=path)

    def has_blob(self, descriptor: Descriptor) -> bool:
        path = os.path.join(self._path, descriptor.digest.encoded)
        return os.path.isfile(path) and os.path.getsize(path) == descriptor.size

    def put_blob(self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]) -> None:
        self._write(descriptor.digest.encoded, verified(opener(0), descriptor))

    def put_document(self, descriptor: Descriptor, data: bytes) -> None:
        self._write(f"{descriptor.digest.encoded}.manifest.json", iter((data,)))

    def put_referrer(self, descriptor: Descriptor, data: bytes, subject: Digest) -> None:
        del data
        raise ImageError(f"a dir: cannot hold the referrers of {subject}", where=str(descriptor.digest))

    def put_root(self, descriptor: Descriptor, data: bytes) -> None:
        verify_document(data, descriptor)
        self._root = data

    def commit(self) -> None:
        self._write("version", iter((_VERSION,)))
        self._write("manifest.json", iter((self._root,)))

    def close(self) -> None:
        pass

    def _write(self, name: str, pieces: Iterator[bytes]) -> None:
        temporary = os.path.join(self._path, f".{os.urandom(8).hex()}")
        try:
            with open(temporary, "xb") as output:
                output.writelines(pieces)
                output.flush()
                os.fsync(output.fileno())
            os.replace(temporary, os.path.join(self._path, name))
        except BaseException as error:
            if os.path.exists(temporary):
                os.unlink(temporary)
            if isinstance(error, OSError):
                what = f"cannot write {name}: {errno_text(error.errno or 0)}"
                raise ImageError(what, where=self._path) from error
            raise
