"""`oci-archive:FILE[:NAME]` and `docker-archive:FILE[:NAME]` as sources.

An archive that holds an image layout is read as one, whichever of the two it is called: its digests are
those that the images always had.  A classic docker-archive has no manifests; they are made up here, from
the config as it is and the layers as they are.

Source: image-spec image-layout.md; the docker-archive is described by what `docker save` writes.
"""

from __future__ import annotations

import hashlib
import json
from typing import IO, TYPE_CHECKING, Any

from oci_image.errors import ImageError
from oci_image.model.content import subject_of
from oci_image.model.descriptor import Descriptor
from oci_image.model.digest import Digest
from oci_image.model.document import MAX_DOCUMENT_BYTES
from oci_image.model.image_config import decode_image_config
from oci_image.model.index import decode_index
from oci_image.model.media_types import MANIFESTS, essence
from oci_image.model.registry_reference import same_name
from oci_image.store.layout import REF_NAME
from oci_image.transports.archive_members import ArchiveMembers
from oci_image.transports.interface import verify_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oci_image.model.reference import Reference

FULL_NAME = "io.containerd.image.name"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


class ArchiveSource:
    """An image of an archive."""

    def __init__(self, archive: str | IO[bytes], reference: Reference, *, scratch: str = "") -> None:
        """Open a file or a stream; `scratch` is a directory for what has to be copied to be read."""
        self._members = ArchiveMembers(archive, scratch)
        path = self._members.path
        self._reference = reference
        self._made: dict[str, bytes] = {}
        self._layers: dict[tuple[int, int], Descriptor] = {}
        self._places: dict[str, tuple[int, int]] = {}
        try:
            names = set(self._members.names())
            if {"oci-layout", "index.json"} <= names:
                self._entries = decode_index(self._members.read("index.json"), where=path).manifests
                for name in names:
                    if name.startswith("blobs/"):
                        self._places[":".join(name.split("/")[1:])] = self._members.place(name)
            elif "manifest.json" in names:
                self._entries = self._make_entries()
            else:
                raise ImageError("archive is neither an image layout nor a docker-archive", where=path)
        except BaseException:
            self.close()
            raise

    def select(self, reference: Reference) -> None:
        """Mean another image of the archive from now on."""
        self._reference = reference

    def names(self) -> list[str]:
        """Every name in the archive."""
        return [name for entry in self._entries if (name := _full_name(entry))]

    def entries(self) -> tuple[Descriptor, ...]:
        """Every image in the archive."""
        return self._entries

    def root(self) -> tuple[Descriptor, bytes]:
        descriptor = self._entry_of()
        return descriptor, self.document(descriptor)

    def _entry_of(self) -> Descriptor:
        wanted = self._reference
        if wanted.position is not None and wanted.position < len(self._entries):
            return self._entries[wanted.position]
        only = len({entry.digest for entry in self._entries}) == 1
        if only and not wanted.tag and wanted.digest is None and wanted.position is None:
            return self._entries[0]
        for entry in self._entries:
            if wanted.digest == entry.digest:
                return entry
            names = (entry.annotations.get(REF_NAME, ""), entry.annotations.get(FULL_NAME, ""))
            if wanted.tag and any(same_name(name, wanted.tag) for name in names if name):
                return entry
        there = ", ".join(self.names()) or "images without names"
        raise ImageError(
            f"archive has no image {wanted}", where=self._members.path, hint=f"the archive holds: {there}"
        )

    def document(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise ImageError(
                f"document of {descriptor.size} bytes is larger than {MAX_DOCUMENT_BYTES}",
                where=str(descriptor.digest),
            )
        return verify_document(b"".join(self.blob(descriptor)), descriptor)

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        digest = str(descriptor.digest)
        if digest in self._made:
            yield self._made[digest][offset:]
            return
        if digest not in self._places:
            raise ImageError("archive lacks a blob of the image", where=digest)
        start, size = self._places[digest]
        yield from self._members.pieces(start + offset, max(0, size - offset))

    def refuse(self, descriptor: Descriptor) -> str:
        del descriptor
        return ""  # there is no other place to have it from

    def referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        found = []
        for entry in self._entries:
            if essence(entry.media_type) in MANIFESTS and str(entry.digest) in self._places:
                subject = subject_of(self.document(entry), where=str(entry.digest))
                if subject is not None and subject.digest == digest:
                    found.append(entry)
        return tuple(found)

    def close(self) -> None:
        self._members.close()

    def _make_entries(self) -> tuple[Descriptor, ...]:
        where = f"{self._members.path} manifest.json"
        try:
            images = json.loads(self._members.read("manifest.json"))
        except (ValueError, RecursionError):
            raise ImageError("document is not valid JSON", where=where) from None
        if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
            raise ImageError("not a list of images", where=where)
        made: list[Descriptor] = []
        for image in images:
            descriptor = self._make_manifest(image, where)
            tags = _texts(image, "RepoTags", where) or [""]
            made.extend(
                Descriptor(
                    descriptor.media_type,
                    descriptor.digest,
                    descriptor.size,
                    annotations={REF_NAME: tag, FULL_NAME: tag} if tag else {},
                )
                for tag in tags
            )
        return tuple(made)

    def _make_manifest(self, image: dict[str, Any], where: str) -> Descriptor:
        layer_names = _texts(image, "Layers", where)
        if not isinstance(image.get("Config"), str):
            raise ImageError("image has no Config", where=where)
        data = self._members.read(image["Config"])
        config = decode_image_config(data, where=image["Config"])
        if len(config.diff_ids) != len(layer_names):
            raise ImageError(
                f"image has {len(layer_names)} layers and {len(config.diff_ids)} diff IDs", where=where
            )
        layers = [self._layer(name) for name in layer_names]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self._keep(data, CONFIG_TYPE).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        return self._keep(json.dumps(manifest, separators=(",", ":")).encode(), MANIFEST_TYPE)

    def _keep(self, data: bytes, media_type: str) -> Descriptor:
        digest = Digest("sha256", hashlib.sha256(data).hexdigest())
        self._made[str(digest)] = data
        return Descriptor(media_type, digest, len(data))

    def _layer(self, name: str) -> Descriptor:
        offset, size = place = self._members.place(name)
        if place in self._layers:  # a list may name one file a thousand times
            return self._layers[place]
        hashed, start = hashlib.sha256(), b""
        for piece in self._members.pieces(offset, size):
            start = start or piece[:4]
            hashed.update(piece)
        kinds = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}
        digest = Digest("sha256", hashed.hexdigest())
        self._places[str(digest)] = (offset, size)
        found = Descriptor(LAYER_TYPE + kinds.get(start[:2], ""), digest, size)
        self._layers[place] = found
        return found


def _texts(image: dict[str, Any], name: str, where: str) -> list[str]:
    """A list of texts; a property that is absent or null is an empty one."""
    found = image.get(name) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ImageError(f"{name} is not a list of texts", where=where)
    return found


def _full_name(entry: Descriptor) -> str:
    return entry.annotations.get(FULL_NAME) or entry.annotations.get(REF_NAME, "")
