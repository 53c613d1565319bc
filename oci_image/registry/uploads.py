"""One blob on its way into a registry: in one request or in chunks, and on from where it broke off.

Source: distribution-spec, "Pushing a blob in chunks" and "Mounting a blob from another repository".
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

import urllib3

from oci_image.errors import RegistryError
from oci_image.registry.client import ATTEMPTS, RETRIED
from oci_image.registry.documents import PUSH
from oci_image.transports.interface import verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oci_image.model.descriptor import Descriptor
    from oci_image.registry.client import RegistryClient

# 401 and 403: the token expired on the way; 404: the session did; 413: a chunk is too large; 416: out of order.
_GONE_ON = RETRIED | {401, 403, 404, 413, 416}
_CHUNK = 16 << 20  # bytes, for a registry that refuses a blob in one request


class Upload:
    """The sending of one blob."""

    def __init__(
        self, client: RegistryClient, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]
    ) -> None:
        """`opener` gives the blob's bytes from an offset on; it is always asked for all, to verify them."""
        self._client = client
        self._descriptor = descriptor
        self._opener = opener
        self._chunk = client.options.chunk_bytes
        self._least = 0

    def run(self, mount_from: str = "") -> None:
        """Send it, unless the registry can take it from its repository `mount_from`.

        Raises: IntegrityError if the bytes are not what they should be, RegistryError.
        """
        location = self._begin(mount_from)
        offset, failures = 0, 0
        while location:
            before = offset
            try:
                location = self._send(location, offset)
                self._finish(location)
                return
            except urllib3.exceptions.HTTPError as error:
                problem = RegistryError(f"connection broke: {error}", where=str(self._descriptor.digest))
            except RegistryError as error:
                if error.status not in _GONE_ON:
                    raise
                if error.status == 413 and not self._chunk:
                    self._chunk = _CHUNK
                problem = error
            location, offset = self._state(location)
            failures = 1 if offset > before else failures + 1
            if failures >= ATTEMPTS:
                raise problem
            self._client.pause(self._client.options.first_wait * failures)

    def _begin(self, mount_from: str = "") -> str:
        """Open an upload; its URL, or "" if the registry could mount the blob from elsewhere."""
        path = f"{self._client.repository}/blobs/uploads/"
        if mount_from:
            try:
                return self._mount(path, mount_from)
            except RegistryError:
                pass  # not allowed to read there, or not supported: the bytes are at hand
        response = self._client.request("POST", path, body=b"", expected=(202,), actions=PUSH)
        response.drain_conn()
        return self._location(response)

    def _mount(self, path: str, mount_from: str) -> str:
        query = f"?mount={quote(str(self._descriptor.digest))}&from={quote(mount_from, safe='')}"
        # One token for both repositories: a registry must see that this caller may read the other one.
        scope = f"{self._client.scope(PUSH)} repository:{mount_from}:pull"
        response = self._client.request("POST", path + query, body=b"", expected=(201, 202), scope=scope)
        response.drain_conn()
        return "" if response.status == 201 else self._location(response)

    def _location(self, response: urllib3.BaseHTTPResponse) -> str:
        target = response.headers.get("Location", "")
        if not target:
            raise RegistryError("registry gave no Location for an upload", where=self._client.host)
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        self._least = int(least) if least.isdigit() else self._least
        return urljoin(self._client.url(""), target)

    def _send(self, location: str, offset: int) -> str:
        """Send everything from `offset` on; where the upload is to be finished."""
        size = self._descriptor.size
        pieces = _without_start(verified(self._opener(0), self._descriptor), offset)
        chunk = max(self._chunk, self._least) if self._chunk else size
        while True:
            count = min(chunk, size - offset)
            part, pieces = _split(pieces, count)
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(count)}
            if offset or count < size:
                headers["Content-Range"] = f"{offset}-{offset + count - 1}"
            response = self._client.send("PATCH", location, headers=headers, body=part, actions=PUSH)
            if response.status == 401:
                self._client.forget_token(PUSH)
            if response.status not in (201, 202, 204):
                raise self._client.failure("PATCH", response)
            response.drain_conn()
            location = self._location(response)
            offset += count
            if offset >= size:
                return location

    def _finish(self, location: str) -> None:
        mark = "&" if urlsplit(location).query else "?"
        url = f"{location}{mark}digest={quote(str(self._descriptor.digest))}"
        response = self._client.send("PUT", url, body=b"", actions=PUSH)
        if response.status != 201:
            raise self._client.failure("PUT", response)
        response.drain_conn()

    def _state(self, location: str) -> tuple[str, int]:
        """Where an upload that broke off stands; a new one if the registry does not know it any more."""
        try:
            response = self._client.send("GET", location, actions=PUSH)
            response.drain_conn()
            end = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("Range", ""))
            if response.status in (202, 204) and end and 0 < int(end[1]) < self._descriptor.size - 1:
                return self._location(response), int(end[1]) + 1
        except urllib3.exceptions.HTTPError:
            pass
        return self._begin(), 0


def _split(pieces: Iterator[bytes], count: int) -> tuple[Iterator[bytes], Iterator[bytes]]:
    """The next `count` bytes, and the rest, which may be read when those have been."""
    rest: list[bytes] = []

    def part() -> Iterator[bytes]:
        left = count
        while left and (piece := next(pieces, b"")):
            if len(piece) > left:
                rest.append(piece[left:])
            yield piece[:left]
            left -= min(left, len(piece))

    return part(), itertools.chain(rest, pieces)


def _without_start(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        rest = piece[count:] if count else piece
        count = max(0, count - len(piece))
        if rest:
            yield rest
