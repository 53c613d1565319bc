"""Repositories that images are pushed to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from oci_image.errors import RegistryError
from oci_image.model.content import children_of, subject_of
from oci_image.model.index import decode_index
from oci_image.model.media_types import MANIFESTS, essence
from oci_image.registry.client import RegistryClient
from oci_image.registry.configuration import load_registries
from oci_image.registry.documents import ACCEPT, PUSH, fallback_tag, read_document
from oci_image.registry.options import RegistryOptions
from oci_image.registry.origins import Origins
from oci_image.registry.uploads import Upload
from oci_image.transports.directory import describe_document
from oci_image.transports.interface import verify_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import urllib3

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.model.registry_reference import RegistryReference

_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class RegistryDestination:
    """A repository that an image is pushed to."""

    def __init__(
        self, reference: RegistryReference, options: RegistryOptions | None = None, mount_from: str = ""
    ) -> None:
        """`mount_from` is a repository of the same registry that has some of the blobs already."""
        options = options or RegistryOptions()
        insecure = load_registries(options.registries_conf, short_names=False).is_insecure(reference)
        self._client = RegistryClient(reference.host, reference.repository, options, insecure=insecure)
        self._reference = reference
        self._mount_from = mount_from
        self._origins = Origins(reference.host) if options.remember else None

    def has_blob(self, descriptor: Descriptor) -> bool:
        path = f"{self._client.repository}/blobs/{descriptor.digest}"
        response = self._client.request("HEAD", path, expected=(200, 404), actions=PUSH)
        response.drain_conn()
        if response.status == 200:
            self._note(descriptor)
        return response.status == 200

    def _note(self, descriptor: Descriptor) -> None:
        if self._origins:
            self._origins.note(str(descriptor.digest), self._reference.repository)

    def put_blob(self, descriptor: Descriptor, opener: Callable[[int], Iterator[bytes]]) -> None:
        known = (
            self._origins.find(str(descriptor.digest), self._reference.repository) if self._origins else ""
        )
        Upload(self._client, descriptor, opener).run(self._mount_from or known)
        self._note(descriptor)

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
            actions=PUSH,
        )
        response.drain_conn()
        return response

    def put_referrer(self, descriptor: Descriptor, data: bytes, subject: Digest) -> None:
        response = self._put(str(descriptor.digest), descriptor, data)
        if not response.headers.get("OCI-Subject"):
            self._note_referrer(descriptor, subject)

    def _note_referrer(self, descriptor: Descriptor, subject: Digest) -> None:
        """Add a referrer to the index under the fallback tag, as a registry without the API wants it."""
        tag = fallback_tag(subject)
        try:
            path = f"{self._client.repository}/manifests/{tag}"
            old = read_document(self._client.request("GET", path, headers=ACCEPT), tag)
        except RegistryError as error:
            if error.status != 404:
                raise
            index: dict[str, Any] = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": []}
        else:
            decode_index(old, where=tag)
            index = json.loads(old)
        if any(entry["digest"] == str(descriptor.digest) for entry in index["manifests"]):
            return
        index["manifests"].append(descriptor.to_entry())
        made = json.dumps(index).encode()
        self._put(tag, describe_document(made, where=tag), made)

    def put_root(self, descriptor: Descriptor, data: bytes) -> None:
        children_of(data, descriptor)
        response = self._put(self._reference.selector, descriptor, data)
        # What is pushed may itself refer to another manifest: an artifact that was attached, or a signature.
        subject = subject_of(data, where=str(descriptor.digest)) if _is_manifest(descriptor) else None
        if subject is not None and not response.headers.get("OCI-Subject"):
            self._note_referrer(_described(descriptor, data), subject.digest)

    def commit(self) -> None:
        """The manifest's arrival was the commit."""

    def close(self) -> None:
        self._client.close()
        if self._origins:
            self._origins.save()


def _is_manifest(descriptor: Descriptor) -> bool:
    return essence(descriptor.media_type) in MANIFESTS


def _described(descriptor: Descriptor, data: bytes) -> Descriptor:
    """The descriptor as a list of referrers wants it: with the artifact's type and annotations."""

    document = json.loads(data)
    kind = str(document.get("artifactType") or document.get("config", {}).get("mediaType") or "")
    annotations = {str(key): str(value) for key, value in (document.get("annotations") or {}).items()}
    return descriptor.replace(artifact_type=kind, annotations=annotations, platform=None)
