"""What a registry has, whether it lets us in, and taking images out of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin, urlsplit

from oci_image.errors import RegistryError
from oci_image.model.content import subject_of
from oci_image.model.media_types import MANIFESTS
from oci_image.model.registry_reference import RegistryReference
from oci_image.registry.client import RegistryClient
from oci_image.registry.configuration import load_registries
from oci_image.registry.documents import ACCEPT, fallback_tag, read_document
from oci_image.registry.endpoints import endpoints_for, open_endpoint
from oci_image.registry.options import RegistryOptions
from oci_image.transports.directory import describe_document
from oci_image.value import Value

if TYPE_CHECKING:
    from oci_image.model.descriptor import Descriptor

_MAX_PAGES = 10_000
_DELETE = "pull,push,delete"


def list_tags(reference: RegistryReference, options: RegistryOptions | None = None) -> list[str]:
    """All tags of a repository, in the registry's order; mirrors are asked first.

    Raises: RegistryError if nobody can tell.
    """
    options = options or RegistryOptions()
    *mirrors, last = endpoints_for(reference, options)
    for place in mirrors:
        try:
            return _tags_at(open_endpoint(place, reference, options))
        except RegistryError:
            continue
    return _tags_at(open_endpoint(last, reference, options))


def _tags_at(client: RegistryClient) -> list[str]:
    return _paged(client, f"{client.repository}/tags/list", "tags", "")


def client_of(host: str, repository: str = "", options: RegistryOptions | None = None) -> RegistryClient:
    """A client for the registry itself, not a mirror; RegistryError if registries.conf blocks it."""
    options = options or RegistryOptions()
    registries = load_registries(options.registries_conf, short_names=False)
    insecure = registries.is_insecure(RegistryReference(host, repository))
    return RegistryClient(host, repository, options, insecure=insecure)


def list_repositories(host: str, options: RegistryOptions | None = None) -> list[str]:
    """All repositories of a registry; many registries forbid it."""
    return _paged(client_of(host, "", options), "_catalog", "repositories", "registry:catalog:*")


def check_login(host: str, options: RegistryOptions) -> None:
    """Ask the registry whether it takes the credentials; RegistryError if not."""
    client = client_of(host, "", options)
    try:
        client.request("GET", "", scope=" ").drain_conn()
    finally:
        client.close()


class Deleted(Value):
    """What a deletion took away: "tag" or "manifest", its digest, and the tags that went along with it."""

    what: str
    digest: str
    tags: tuple[str, ...] = ()


def delete_image(
    reference: RegistryReference, options: RegistryOptions | None = None, *, whole_manifest: bool = False
) -> Deleted:
    """Delete a tag, or where the registry cannot do that (or with `whole_manifest`) its manifest with all tags.

    A manifest that refers to another one also goes out of the list under that one's fallback tag.

    Raises: RegistryError.
    """
    client = client_of(reference.host, reference.repository, options)
    try:
        descriptor, data = _look_up(client, reference)
        path = f"{reference.repository}/manifests/"
        if reference.digest is None and not whole_manifest:
            try:
                client.request(
                    "DELETE", path + reference.selector, expected=(202,), actions=_DELETE
                ).drain_conn()
                return Deleted("tag", str(descriptor.digest), (reference.selector,))
            except RegistryError as error:
                # A registry that takes no tag here says so in one of these ways.
                if error.status not in (400, 404, 405):
                    raise
        tags = _tags_of(client, reference, descriptor)
        client.request("DELETE", f"{path}{descriptor.digest}", expected=(202,), actions=_DELETE).drain_conn()
        _drop_referrer(client, descriptor, data)
        return Deleted("manifest", str(descriptor.digest), tags)
    finally:
        client.close()


def _look_up(client: RegistryClient, reference: RegistryReference) -> tuple[Descriptor, bytes]:
    path = f"{reference.repository}/manifests/{reference.selector}"
    data = read_document(client.request("GET", path, headers=ACCEPT, actions=_DELETE), reference.selector)
    return describe_document(data, where=str(reference)), data


def _tags_of(client: RegistryClient, reference: RegistryReference, descriptor: Descriptor) -> tuple[str, ...]:
    """The tags that mean the same manifest, as far as the registry tells; there may be too many to ask for."""
    try:
        tags = _pages(client, f"{reference.repository}/tags/list", "tags", "")
    except RegistryError:
        return ()
    found = []
    for tag in tags[:_MAX_TAGS]:
        response = client.request(
            "HEAD", f"{reference.repository}/manifests/{tag}", headers=ACCEPT, expected=(200, 404)
        )
        response.drain_conn()
        if response.headers.get("Docker-Content-Digest") == str(descriptor.digest):
            found.append(tag)
    return tuple(found)


_MAX_TAGS = 200


def _drop_referrer(client: RegistryClient, descriptor: Descriptor, data: bytes) -> None:
    subject = subject_of(data, where=str(descriptor.digest)) if descriptor.media_type in MANIFESTS else None
    if subject is None:
        return
    path = f"{client.repository}/manifests/{fallback_tag(subject.digest)}"
    try:
        index = json.loads(read_document(client.request("GET", path, headers=ACCEPT), path))
    except RegistryError as error:
        if error.status == 404:
            return  # the registry keeps the list itself
        raise
    index["manifests"] = [
        entry for entry in index.get("manifests") or [] if entry.get("digest") != str(descriptor.digest)
    ]
    made = json.dumps(index).encode()
    kind = describe_document(made, where=path).media_type
    client.request(
        "PUT", path, headers={"Content-Type": kind}, body=made, expected=(201,), actions=_DELETE
    ).drain_conn()


def _paged(client: RegistryClient, path: str, key: str, scope: str) -> list[str]:
    try:
        return _pages(client, path, key, scope)
    finally:
        client.close()


def _pages(client: RegistryClient, path: str, key: str, scope: str) -> list[str]:
    """The lists under `key` of all pages; the links between them must lead on."""
    found: list[str] = []
    seen = set()
    try:
        while path not in seen:
            seen.add(path)
            if len(seen) > _MAX_PAGES:
                raise RegistryError(f"registry has more than {_MAX_PAGES} pages of {key}", where=client.host)
            response = client.request("GET", path, scope=scope)
            document: dict[str, Any] = json.loads(read_document(response, path))
            found += [str(name) for name in document.get(key) or []]
            link = re.search(r'<([^>]*)>\s*;\s*rel="?next', response.headers.get("Link", ""))
            if not link:
                return found
            target = urlsplit(urljoin(client.url(path), link[1]))
            if not parse_qs(target.query):
                return found
            path = f"{target.path.removeprefix('/v2/')}?{target.query}"
    except (ValueError, AttributeError):
        raise RegistryError(f"registry gave no list of {key}", where=client.host) from None
    raise RegistryError(f"the pages of {key} lead in a circle", where=client.host)
