"""Images of a registry, to be copied from: its mirrors first, and downloads that go on where they broke off."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, TypeVar

import urllib3

from oci_image.errors import ImageError, IntegrityError, RegistryError
from oci_image.model.document import MAX_DOCUMENT_BYTES
from oci_image.model.index import decode_index
from oci_image.registry.client import ATTEMPTS, RegistryClient
from oci_image.registry.documents import ACCEPT, fallback_tag, read_document
from oci_image.registry.endpoints import endpoints_for, open_endpoint
from oci_image.registry.options import RegistryOptions
from oci_image.registry.origins import Origins
from oci_image.transports.directory import describe_document
from oci_image.transports.interface import PIECE, verify_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.model.registry_reference import RegistryReference

_Found = TypeVar("_Found")
_MAX_BREAKS = 30  # of one download, even if each try brings it a little further


class RegistrySource:
    """An image of a registry.

    The endpoint that has the manifest serves the rest too; what it fails to give, the next one is asked for.
    """

    def __init__(self, reference: RegistryReference, options: RegistryOptions | None = None) -> None:
        """Find out where the image may be had; nobody is asked yet."""
        self._reference = reference
        options = options or RegistryOptions()
        self._origins = Origins(reference.host) if options.remember else None
        self._clients = [
            open_endpoint(place, reference, options) for place in endpoints_for(reference, options)
        ]
        self._givers: dict[str, list[tuple[RegistryClient, int]]] = {}  # of blobs, and from which offset on
        self._lock = threading.Lock()

    def root(self) -> tuple[Descriptor, bytes]:
        return self._first(self._root)

    def _root(self, client: RegistryClient) -> tuple[Descriptor, bytes]:
        data, announced = _manifest(client, self._reference.selector)
        descriptor = describe_document(data, where=str(self._reference))
        wanted = str(self._reference.digest or announced or descriptor.digest)
        if wanted.startswith("sha256:") and wanted != str(descriptor.digest):
            raise IntegrityError(
                "manifest does not match its digest", where=wanted, hint=f"it has {descriptor.digest}"
            )
        return descriptor, data

    def document(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise ImageError(
                f"document of {descriptor.size} bytes is larger than {MAX_DOCUMENT_BYTES}",
                where=str(descriptor.digest),
            )
        return self._first(
            lambda client: verify_document(_manifest(client, str(descriptor.digest))[0], descriptor)
        )

    def _first(self, call: Callable[[RegistryClient], _Found]) -> _Found:
        """What the first endpoint that can answers; the last one's error if none can."""
        while True:
            client = self._clients[0]
            try:
                return call(client)
            except ImageError:  # no answer, or one that is not what was asked for
                if not self._drop(client):
                    raise

    def _drop(self, client: RegistryClient) -> bool:
        """Ask the next endpoint from now on, if there is one; another thread may have been faster."""
        with self._lock:
            if client not in self._clients:
                return True
            if len(self._clients) == 1:
                return False
            self._clients.remove(client)
        client.close()
        return True

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """The bytes from `offset` on; a connection that breaks is taken up again where it was."""
        while True:
            client = self._clients[0]
            self._givers.setdefault(str(descriptor.digest), []).append((client, offset))
            try:
                for piece in _download(client, descriptor, offset):
                    offset += len(piece)
                    yield piece
            except RegistryError:
                if not self._drop(client):
                    raise
            else:
                if self._origins and client.host == self._reference.host:
                    self._origins.note(str(descriptor.digest), client.repository)
                return

    def refuse(self, descriptor: Descriptor) -> str:
        givers = self._givers.pop(str(descriptor.digest), [])
        names = " and ".join(client.host for client, _ in givers)
        # Whose part was wrong cannot be known if several gave one, or some of it came with an earlier pull.
        mixed = len(givers) > 1 or any(offset for _, offset in givers)
        return names if mixed or (givers and self._drop(givers[0][0])) else ""

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        return self._first(lambda client: _referrers(client, digest))

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self._origins:
            self._origins.save()


def _referrers(client: RegistryClient, digest: Digest) -> tuple[Descriptor, ...]:
    try:
        data = read_document(client.request("GET", f"{client.repository}/referrers/{digest}"), str(digest))
    except RegistryError as error:
        if error.status not in (400, 404, 405):
            raise
        try:
            data, _ = _manifest(client, fallback_tag(digest))
        except RegistryError as missing:
            if missing.status == 404:
                return ()
            raise
    return decode_index(data, where=f"referrers of {digest}").manifests


def _manifest(client: RegistryClient, selector: str) -> tuple[bytes, str]:
    try:
        response = client.request("GET", f"{client.repository}/manifests/{selector}", headers=ACCEPT)
    except RegistryError as error:
        mark = "@" if ":" in selector else ":"
        where = f"{client.host}/{client.repository}{mark}{selector}"
        raise RegistryError(error.what, where=where, hint=error.hint, status=error.status) from None
    return read_document(response, selector), response.headers.get("Docker-Content-Digest", "")


def _download(client: RegistryClient, descriptor: Descriptor, offset: int) -> Iterator[bytes]:
    """A blob's bytes from `offset` on; RegistryError if the connection breaks again and again."""
    failures, breaks, tag = 0, 0, ""
    path = f"{client.repository}/blobs/{descriptor.digest}"
    while offset < descriptor.size:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and tag:
            headers["If-Range"] = tag  # what has changed meanwhile is begun anew
        response = client.request("GET", path, headers=headers, expected=(200, 206))
        before, skip = offset, offset - _start(response, offset)
        tag = (
            response.headers.get("ETag", "") if not response.headers.get("ETag", "").startswith("W/") else ""
        )
        try:
            if skip < 0:
                raise RegistryError("registry sent another range than it was asked for", where=path)
            # read1 gives what has arrived, without the copies that `stream` makes to fill up pieces.
            while piece := response.read1(PIECE, decode_content=False):
                rest = piece[skip:] if skip else piece
                skip = max(0, skip - len(piece))
                if rest:
                    offset += len(rest)
                    yield rest
            problem = f"blob ends {descriptor.size - offset} bytes before its size of {descriptor.size}"
        except urllib3.exceptions.HTTPError as error:
            problem = f"connection broke: {error}"
        finally:
            response.close()
        failures, breaks = 1 if offset > before else failures + 1, breaks + 1
        if offset < descriptor.size and (failures >= ATTEMPTS or breaks >= _MAX_BREAKS):
            raise RegistryError(problem, where=str(descriptor.digest))
        if offset < descriptor.size:
            client.pause(client.options.first_wait * failures)


def _start(response: urllib3.BaseHTTPResponse, asked: int) -> int:
    """Where in the blob the body of an answer begins."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else asked
