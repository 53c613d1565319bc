"""Images of a registry: pulled, pushed, listed and deleted."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import urllib3

from oci_image.errors import ImageError, IntegrityError, RegistryError
from oci_image.model.content import children_of
from oci_image.model.document import MAX_DOCUMENT_BYTES
from oci_image.model.index import decode_index
from oci_image.model.media_types import INDEXES, MANIFESTS
from oci_image.registry.client import ATTEMPTS, RegistryClient, RegistryOptions
from oci_image.transports.directory import describe_document
from oci_image.transports.interface import PIECE, verified, verify_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.model.registry_reference import RegistryReference

_ACCEPT = {"Accept": ", ".join(sorted(MANIFESTS | INDEXES))}
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_PUSH = "pull,push"
_MAX_PAGES = 10_000


class RegistrySource:
    """An image of a registry."""

    def __init__(self, reference: RegistryReference, options: RegistryOptions | None = None) -> None:
        self._client = RegistryClient(reference.host, reference.repository, options)
        self._reference = reference

    def root(self) -> tuple[Descriptor, bytes]:
        data, announced = self._manifest(self._reference.selector)
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
        return verify_document(self._manifest(str(descriptor.digest))[0], descriptor)

    def _manifest(self, selector: str) -> tuple[bytes, str]:
        response = self._client.request(
            "GET", f"{self._client.repository}/manifests/{selector}", headers=_ACCEPT
        )
        return read_document(response, selector), response.headers.get("Docker-Content-Digest", "")

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """The bytes from `offset` on; a connection that breaks is taken up again where it was."""
        failures = 0
        path = f"{self._client.repository}/blobs/{descriptor.digest}"
        while offset < descriptor.size:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            response = self._client.request("GET", path, headers=headers, expected=(200, 206))
            before = offset
            skip = offset if response.status == 200 else 0
            try:
                # read1 gives what has arrived, without the copies that `stream` makes to fill up pieces.
                while piece := response.read1(PIECE, decode_content=False):
                    rest = piece[skip:]
                    skip = max(0, skip - len(piece))
                    if rest:
                        offset += len(rest)
                        yield rest
                problem = f"blob ends {descriptor.size - offset} bytes before its size of {descriptor.size}"
            except urllib3.exceptions.HTTPError as error:
                problem = f"connection broke: {error}"
            finally:
                response.close()
            failures = 1 if offset > before else failures + 1
            if offset < descriptor.size and failures >= ATTEMPTS:
                raise RegistryError(problem, where=str(descriptor.digest))
            if offset < descriptor.size:
                self._client.pause(0.2 * failures)

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        try:
            path = f"{self._client.repository}/referrers/{digest}"
            data = read_document(self._client.request("GET", path), str(digest))
        except RegistryError as error:
            if error.status not in (400, 404, 405):
                raise
            try:
                data, _ = self._manifest(_fallback_tag(digest))
            except RegistryError as missing:
                if missing.status == 404:
                    return ()
                raise
        return decode_index(data, where=f"referrers of {digest}").manifests

    def close(self) -> None:
        self._client.close()


class RegistryDestination:
    """A repository that an image is pushed to."""

    def __init__(
        self, reference: RegistryReference, options: RegistryOptions | None = None, mount_from: str = ""
    ) -> None:
        """`mount_from` is a repository of the same registry that has some of the blobs already."""
        self._client = RegistryClient(reference.host, reference.repository, options)
        self._reference = reference
        self._mount_from = mount_from

    def has_blob(self, descriptor: Descriptor) -> bool:
        path = f"{self._client.repository}/blobs/{descriptor.digest}"
        response = self._client.request("HEAD", path, expected=(200, 404), actions=_PUSH)
        response.drain_conn()
        return response.status == 200

    def put_blob(self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]) -> None:
        location = self._begin(descriptor)
        offset, failures, problem = 0, 0, ""
        while location:
            try:
                target = self._send_rest(descriptor, opener, location, offset)
                self._finish(descriptor, target)
                return
            except urllib3.exceptions.HTTPError as error:
                problem = f"connection broke: {error}"
            except RegistryError as error:
                if error.status not in (401, 403, 404, 408, 416, 429) and error.status < 500:
                    raise
                problem = error.what
            failures += 1
            if failures >= ATTEMPTS:
                raise RegistryError(problem, where=str(descriptor.digest))
            self._client.pause(0.2 * failures)
            location, offset = self._state(descriptor, location)

    def _begin(self, descriptor: Descriptor) -> str:
        """Open an upload; its URL, or "" if the registry could mount the blob from elsewhere."""
        path = f"{self._client.repository}/blobs/uploads/"
        if self._mount_from:
            path += f"?mount={quote(str(descriptor.digest))}&from={quote(self._mount_from)}"
        response = self._client.request("POST", path, body=b"", expected=(201, 202), actions=_PUSH)
        response.drain_conn()
        return "" if response.status == 201 else self._location(response)

    def _location(self, response: urllib3.BaseHTTPResponse) -> str:
        target = response.headers.get("Location", "")
        if not target:
            raise RegistryError("registry gave no Location for an upload", where=self._client.host)
        return urljoin(self._client.url(""), target)

    def _send_rest(
        self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]], location: str, offset: int
    ) -> str:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(descriptor.size - offset),
        }
        if offset:
            headers["Content-Range"] = f"{offset}-{descriptor.size - 1}"
        pieces = _without_start(verified(opener(0), descriptor), offset)
        response = self._client.send("PATCH", location, headers=headers, body=pieces, actions=_PUSH)
        if response.status == 401:
            self._client.forget_token(_PUSH)
        if response.status not in (201, 202, 204):
            raise self._client.failure("PATCH", response)
        response.drain_conn()
        return self._location(response)

    def _finish(self, descriptor: Descriptor, location: str) -> None:
        mark = "&" if urlsplit(location).query else "?"
        url = f"{location}{mark}digest={quote(str(descriptor.digest))}"
        response = self._client.send("PUT", url, body=b"", actions=_PUSH)
        if response.status != 201:
            raise self._client.failure("PUT", response)
        response.drain_conn()

    def _state(self, descriptor: Descriptor, location: str) -> tuple[str, int]:
        """Where an upload that broke off stands; a new one if the registry does not know it any more."""
        try:
            response = self._client.send("GET", location, actions=_PUSH)
            response.drain_conn()
            end = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("Range", ""))
            if response.status in (202, 204) and end and 0 < int(end[1]) < descriptor.size - 1:
                return self._location(response), int(end[1]) + 1
        except urllib3.exceptions.HTTPError:
            pass
        return self._begin(descriptor), 0

    def put_document(self, descriptor: Descriptor, data: bytes) -> None:
        self._put(str(descriptor.digest), descriptor, data)

    def _put(self, selector: str, descriptor: Descriptor, data: bytes) -> urllib3.BaseHTTPResponse:
        verify_document(data, descriptor)
        response = self._client.request(
            "PUT",
            f"{self._client.repository}/manifests/{selector}",
            headers={"Content-Type": descriptor.media_type},
            body=data,
            expected=(201,),
            actions=_PUSH,
        )
        response.drain_conn()
        return response

    def put_referrer(self, descriptor: Descriptor, data: bytes, subject: Digest) -> None:
        response = self._put(str(descriptor.digest), descriptor, data)
        if response.headers.get("OCI-Subject"):
            return
        tag = _fallback_tag(subject)
        try:
            path = f"{self._client.repository}/manifests/{tag}"
            old = json.loads(read_document(self._client.request("GET", path, headers=_ACCEPT), tag))
        except RegistryError as error:
            if error.status != 404:
                raise
            old = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": []}
        if any(entry["digest"] == str(descriptor.digest) for entry in old["manifests"]):
            return
        old["manifests"].append(descriptor.to_entry())
        made = json.dumps(old).encode()
        self._put(tag, describe_document(made, where=tag), made)

    def put_root(self, descriptor: Descriptor, data: bytes) -> None:
        children_of(data, descriptor)
        self._put(self._reference.selector, descriptor, data)

    def commit(self) -> None:
        """The manifest's arrival was the commit."""

    def close(self) -> None:
        self._client.close()


def list_tags(reference: RegistryReference, options: RegistryOptions | None = None) -> list[str]:
    """All tags of a repository, in the registry's order."""
    client = RegistryClient(reference.host, reference.repository, options)
    return _paged(client, f"{reference.repository}/tags/list", "tags", "")


def list_repositories(host: str, options: RegistryOptions | None = None) -> list[str]:
    """All repositories of a registry; many registries forbid it."""
    client = RegistryClient(host, "", options)
    return _paged(client, "_catalog", "repositories", "registry:catalog:*")


def check_login(host: str, options: RegistryOptions) -> None:
    """Ask the registry whether it takes the credentials; RegistryError if not."""
    client = RegistryClient(host, "", options)
    try:
        client.request("GET", "", scope=" ").drain_conn()
    finally:
        client.close()


def delete_image(reference: RegistryReference, options: RegistryOptions | None = None) -> str:
    """Delete a tag, or where the registry cannot do that its manifest with all its tags.

    Returns what was deleted, "tag" or "manifest".  Raises: RegistryError.
    """
    client = RegistryClient(reference.host, reference.repository, options)
    actions = "pull,push,delete"
    path = f"{reference.repository}/manifests/"
    try:
        if reference.digest is None:
            try:
                client.request(
                    "DELETE", path + reference.selector, expected=(202,), actions=actions
                ).drain_conn()
                return "tag"
            except RegistryError as error:
                if error.status not in (400, 404, 405):
                    raise
        source = RegistrySource(reference, options)
        try:
            digest = source.root()[0].digest
        finally:
            source.close()
        client.request("DELETE", f"{path}{digest}", expected=(202,), actions=actions).drain_conn()
        return "manifest"
    finally:
        client.close()


def _paged(client: RegistryClient, path: str, key: str, scope: str) -> list[str]:
    found: list[str] = []
    try:
        for _ in range(_MAX_PAGES):
            response = client.request("GET", path, scope=scope)
            document: dict[str, Any] = json.loads(read_document(response, path))
            found += [str(name) for name in document.get(key) or []]
            link = re.match(r'<([^>]*)>\s*;\s*rel="?next', response.headers.get("Link", ""))
            if not link:
                return found
            target = urlsplit(urljoin(client.url(path), link[1]))
            path = f"{target.path.removeprefix('/v2/')}?{target.query}"
            if not parse_qs(target.query):
                return found
    except ValueError:
        raise RegistryError(f"registry gave no list of {key}", where=client.host) from None
    finally:
        client.close()
    raise RegistryError(f"registry has more than {_MAX_PAGES} pages of {key}", where=client.host)


def read_document(response: urllib3.BaseHTTPResponse, where: str) -> bytes:
    """The body of an answer that is a document; `where` names it in errors."""
    try:
        data = response.read(MAX_DOCUMENT_BYTES + 1, decode_content=False)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ImageError(f"document is larger than {MAX_DOCUMENT_BYTES} bytes", where=where)
    except urllib3.exceptions.HTTPError as error:
        raise RegistryError(f"connection broke: {error}", where=where) from None
    finally:
        response.close()
    return data


def _without_start(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        rest = piece[count:]
        count = max(0, count - len(piece))
        if rest:
            yield rest


def _fallback_tag(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"[:128]
