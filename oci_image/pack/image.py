"""Changing an image: its manifest and config as they stand, with unknown properties kept.

An `ImageDraft` begins as an image of a store, or empty; layers, settings and history are changed on it, and
`store` writes both documents.  Nothing of the image it began as is altered.
"""

from __future__ import annotations

import copy
import datetime as dt
import os

from oci_image.errors import ImageError
from oci_image.model.descriptor import Descriptor, decode_descriptor
from oci_image.model.digest import Digest, parse_digest
from oci_image.model.document import list_of, object_of, parse_document
from oci_image.model.image_config import decode_image_config
from oci_image.model.manifest import decode_manifest
from oci_image.model.media_types import LAYERS, essence
from oci_image.value import Value
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.model.platform import Platform
    from oci_image.store.content import Store

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


class History(Value):
    """What an entry of the history says; "" leaves a property out."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""

    def to_json(self, *, empty_layer: bool) -> dict[str, Any]:
        """As the config has it."""
        entry: dict[str, Any] = {
            "created": self.created or timestamp(),
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
        }
        entry = {key: value for key, value in entry.items() if value}
        return {**entry, "empty_layer": True} if empty_layer else entry


class ImageDraft:
    """The documents of an image that is being changed; `platform` is as the index that it was found in has it."""

    def __init__(
        self, manifest: dict[str, Any], config: dict[str, Any], platform: Platform | None = None
    ) -> None:
        self.manifest = manifest
        self.config = config
        self.platform = platform

    def copied(self) -> ImageDraft:
        """Another draft of the same, to be changed by itself."""
        return ImageDraft(copy.deepcopy(self.manifest), copy.deepcopy(self.config), self.platform)

    @property
    def is_docker(self) -> bool:
        """Whether the image is in Docker's format, which new layers then are too."""
        return ".docker." in essence(str(self.manifest.get("mediaType") or ""))

    @property
    def settings(self) -> dict[str, Any]:
        """The object `config` of the config, made if it is not there."""
        if not isinstance(self.config.get("config"), dict):
            self.config["config"] = {}
        settings: dict[str, Any] = self.config["config"]
        return settings

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, bottom first."""
        return tuple(
            decode_descriptor(layer, where=f"/layers/{n}")
            for n, layer in enumerate(list_of(self.manifest, "layers", where="manifest"))
        )

    def diff_ids(self) -> tuple[Digest, ...]:
        """The digests of the plain layers, bottom first."""
        return tuple(parse_digest(text) for text in self.config["rootfs"]["diff_ids"])

    def last_compression(self) -> str:
        """What the topmost layer is compressed with; gzip if there is none or it is not."""
        layers = self.layers()
        found = LAYERS.get(essence(layers[-1].media_type), "gzip") if layers else "gzip"
        return "gzip" if found == "none" else found

    def add_layer(self, layer: Descriptor, diff_id: Digest, history: History | None) -> None:
        """Put a layer on top.  Without `history` the image loses agreement of history and layers."""
        self.manifest["layers"] = [*list_of(self.manifest, "layers", where="manifest"), layer.to_json()]
        rootfs = object_of(self.config, "rootfs", where="config")
        self.config["rootfs"] = {**rootfs, "diff_ids": [*rootfs["diff_ids"], str(diff_id)]}
        if history is not None:
            self.add_history(history, empty_layer=False)

    def clear_layers(self) -> None:
        """Take all layers and the history away."""
        self.manifest["layers"] = []
        self.config["rootfs"] = {"type": "layers", "diff_ids": []}
        self.config.pop("history", None)

    def drop_layers(self, keep: int) -> None:
        """Take the layers above the lowest `keep` away; their entries of the history stay, without a layer."""
        self.manifest["layers"] = list_of(self.manifest, "layers", where="manifest")[:keep]
        rootfs = object_of(self.config, "rootfs", where="config")
        self.config["rootfs"] = {**rootfs, "diff_ids": rootfs["diff_ids"][:keep]}
        entries, left = [], keep
        for entry in list_of(self.config, "history", where="config"):
            has_layer = not entry.get("empty_layer")
            entries.append({**entry, "empty_layer": True} if has_layer and left <= 0 else entry)
            left -= has_layer
        if entries:
            self.config["history"] = entries

    def add_history(self, history: History, *, empty_layer: bool) -> None:
        """Note a change; `empty_layer` if it made no layer."""
        entries = list_of(self.config, "history", where="config")
        self.config["history"] = [*entries, history.to_json(empty_layer=empty_layer)]

    def store(self, store: Store) -> Descriptor:
        """Write config and manifest; the manifest's descriptor.  Use it inside of `store.adding`."""
        media_type = self.manifest["config"]["mediaType"]
        config = store.put_document(self.config, media_type)
        self.manifest["config"] = {**self.manifest["config"], **config.to_json()}
        self.manifest["config"].pop("data", None)
        written = store.put_document(self.manifest, self.manifest.get("mediaType") or OCI_MANIFEST)
        return Descriptor(written.media_type, written.digest, written.size, self.platform)


def load_draft(store: Store, manifest: Descriptor) -> ImageDraft:
    """The image of a manifest in the store.

    Raises: ImageError if it is malformed or is an artifact, IntegrityError if it was altered.
    """
    where = str(manifest.digest)
    data = store.read_document(manifest)
    decoded = decode_manifest(data, where=where)
    config = store.read_document(decoded.config)
    image = decode_image_config(config, where=str(decoded.config.digest))
    if len(image.diff_ids) != len(decoded.layers):
        raise ImageError(
            f"manifest has {len(decoded.layers)} layers, its config {len(image.diff_ids)} diff IDs",
            where=where,
        )
    draft = ImageDraft(parse_document(data, where=where), parse_document(config, where=where))
    draft.platform = manifest.platform
    draft.manifest.setdefault("mediaType", manifest.media_type)
    return draft


def new_draft(platform: Platform, created: str = "") -> ImageDraft:
    """An image without layers."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG},
        "layers": [],
    }
    # What every machine of an architecture has is not said, as other tools have it.
    usual = (platform.architecture, platform.variant) in (("amd64", "v1"), ("arm64", "v8"))
    variant = "" if usual else platform.variant
    named = {"architecture": platform.architecture, "os": platform.os, "variant": variant}
    config: dict[str, Any] = {key: value for key, value in named.items() if value}
    config |= {"created": created or timestamp(), "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    return ImageDraft(manifest, copy.deepcopy(config))


def source_date_epoch() -> int | None:
    """The environment's SOURCE_DATE_EPOCH in seconds since 1970; UsageError if it is no number.

    Source: reproducible-builds.org, "SOURCE_DATE_EPOCH".
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise UsageError(f"SOURCE_DATE_EPOCH is no number of seconds: {text[:40]!r}")
    return int(text)


def timestamp() -> str:
    """Now, or SOURCE_DATE_EPOCH if that is set, as RFC 3339 has it."""
    fixed = source_date_epoch()
    now = dt.datetime.now(dt.UTC) if fixed is None else dt.datetime.fromtimestamp(fixed, dt.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S" + (".%f" if fixed is None else "") + "Z")
