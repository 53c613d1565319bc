"""`oci-archive:FILE[:NAME]` and `docker-archive:FILE[:NAME]` as destinations.

Both are image layouts in a tar; the second also has the manifest.json that `docker load` of any age reads,
with paths that point at the same blobs.  The archive grows under a hidden name beside its own.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from typing import IO, TYPE_CHECKING, Any, cast

from oci_image.errors import ImageError, IntegrityError
from oci_image.model.content import children_of
from oci_image.model.media_types import MANIFESTS, essence
from oci_image.store.content import INDEX_TYPE
from oci_image.store.layout import REF_NAME
from oci_image.transports.archive_source import FULL_NAME
from oci_image.transports.interface import PIECE, verified
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest


class ArchiveDestination:
    """A new archive; it replaces a file of that name.  Several images may go into it, one by one."""

    def __init__(self, target: str | IO[bytes], name: str, *, docker: bool) -> None:
        """Begin with a file, or on a stream that is open already and stays so."""
        self._stream = None if isinstance(target, str) else target
        self._path = os.path.abspath(target) if isinstance(target, str) else "the stream"
        self._name = name
        self._docker = docker
        self._lock = threading.Lock()
        self._there: set[str] = set()
        self._entries: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        head, tail = os.path.split(self._path)
        self._temporary = os.path.join(head, f".{tail}.{os.getpid()}")
        try:
            self._file = self._stream or open(self._temporary, "xb")  # noqa: SIM115 - lives longer
        except OSError as error:
            what = f"cannot write archive: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=self._path) from None
        target_file = cast("IO[bytes]", _Counting(self._file)) if self._stream else self._file
        self._archive = tarfile.TarFile(
            fileobj=target_file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=PIECE
        )
        self._add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def rename(self, name: str) -> None:
        """The name of the image that comes next."""
        self._name = name

    def has_blob(self, descriptor: Descriptor) -> bool:
        return str(descriptor.digest) in self._there

    def put_blob(self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]) -> None:
        with self._lock:
            if self.has_blob(descriptor):
                return
            member = tarfile.TarInfo(_path_of(descriptor.digest))
            member.size = descriptor.size
            offset = self._archive.offset
            try:
                self._archive.addfile(member, _Pieces(verified(opener(0), descriptor)))
            except IntegrityError:
                if self._stream is None:  # the right bytes may come from elsewhere
                    self._file.seek(offset)
                    self._file.truncate()
                    self._archive.offset = offset
                raise
            self._there.add(str(descriptor.digest))

    def put_document(self, descriptor: Descriptor, data: bytes) -> None:
        self.put_blob(descriptor, lambda offset: iter((data[offset:],)))

    def put_referrer(self, descriptor: Descriptor, data: bytes, subject: Digest) -> None:
        del subject
        self.put_document(descriptor, data)
        self._entries.append(descriptor.to_entry())

    def put_root(self, descriptor: Descriptor, data: bytes) -> None:
        self.put_document(descriptor, data)
        entry = descriptor.to_entry()
        annotations = {key: value for key, value in descriptor.annotations.items() if key not in _NAMES}
        if self._name:
            annotations |= {REF_NAME: self._name} | ({FULL_NAME: self._name} if self._docker else {})
        self._entries.append({**entry, "annotations": annotations})
        if not self._docker:
            return
        if essence(descriptor.media_type) not in MANIFESTS:
            return  # docker finds the platforms through index.json
        config, *layers = children_of(data, descriptor)
        self._images.append(
            {
                "Config": _path_of(config.digest),
                "RepoTags": [self._name] if self._name else None,
                "Layers": [_path_of(layer.digest) for layer in layers],
            }
        )

    def commit(self) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self._entries}
        self._add("index.json", json.dumps(index).encode())
        if self._docker and self._images:
            self._add("manifest.json", json.dumps(self._images).encode())
        try:
            self._archive.close()
            self._file.flush()
            if self._stream is None:
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._temporary, self._path)
        except OSError as error:
            what = f"cannot write archive: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=self._path) from None

    def close(self) -> None:
        if self._stream is not None:
            return
        self._file.close()
        try:
            os.unlink(self._temporary)
        except FileNotFoundError:
            pass

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._archive.addfile(member, io.BytesIO(data))


_NAMES = (REF_NAME, FULL_NAME)


class _Counting:
    """A stream that need not know where it is, for tarfile, which wants to."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._written = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written


class _Pieces(io.RawIOBase):
    """Pieces as the file that tarfile wants to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        found, self._rest = self._rest[:size], self._rest[size:]
        if len(self._rest) == 0:
            self._check_end()
        return found

    def _check_end(self) -> None:
        self._rest = next(self._pieces, b"")


def _path_of(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"
