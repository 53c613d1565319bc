"""Making and changing indexes: one name for the images of several platforms, or for any set of manifests.

An index is a document in the store under a name; changing it makes a new document, to which the name moves.
What is added is copied into the store first, so that an index is whole and can be pushed from there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from oci_image.copying import CopyOptions, copy_image
from oci_image.errors import ImageError
from oci_image.inspecting import read_image
from oci_image.locations import open_source
from oci_image.model.content import children_of
from oci_image.model.document import parse_document
from oci_image.model.media_types import INDEXES, essence
from oci_image.model.registry_reference import full_name
from oci_image.store.content import INDEX_TYPE, Store, default_store_path, name_of
from oci_image.store.layout import REF_NAME
from oci_image.transports.layout import LayoutDestination
from oci_image.value import Value, fresh
from pyruntime.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.platform import Platform
    from oci_image.registry.options import RegistryOptions

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class EntryChanges(Value):
    """What to set of an entry of an index; what is empty stays as it is."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    annotations: dict[str, str] = fresh(default_factory=dict)


def create_index(
    name: str,
    images: Sequence[str] = (),
    *,
    store: str = "",
    registry: RegistryOptions | None = None,
    whole: bool = False,
    annotations: dict[str, str] | None = None,
    docker: bool = False,
    replace_existing: bool = False,
) -> Descriptor:
    """Make an index of images that are at any place; its descriptor.

    Of an image that is itself an index the one for this machine is taken, or with `whole` all.  `docker` makes a
    manifest list in Docker's form, which has no annotations.

    Raises: ImageError if the name is taken, unless `replace_existing`, and as `oci_image.transfer.copy`.
    """
    if docker and annotations:
        raise UsageError("a manifest list in Docker's form has no annotations")
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker else INDEX_TYPE,
        "manifests": [],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    final = full_name(name) if not store else name
    with Store.open(store or default_store_path(), create=True) as opened, opened.adding():
        if not replace_existing and any(
            entry.annotations.get(REF_NAME) == final for entry in opened.index().manifests
        ):
            raise ImageError("name is taken", where=final, hint="remove it first, or ask to replace it")
        for image in images:
            document["manifests"] += _entries_of(image, opened, store, registry, whole=whole, platform=None)
        return _tag(opened, document, final)


def add_to_index(
    name: str,
    image: str,
    changes: EntryChanges | None = None,
    *,
    store: str = "",
    registry: RegistryOptions | None = None,
    whole: bool = False,
    platform: Platform | None = None,
) -> Descriptor:
    """Add an image of any place, the one for `platform` or with `whole` all of an index; the new index.

    An entry with the same digest is replaced.  Raises: as `create_index`.
    """
    with Store.open(store or default_store_path()) as opened, opened.adding():
        new = _entries_of(image, opened, store, registry, whole=whole, platform=platform)
        new = [_changed(entry, changes or EntryChanges()) for entry in new]
        digests = {entry["digest"] for entry in new}

        def add(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [*(entry for entry in entries if entry["digest"] not in digests), *new]

        return _change(opened, name, add)


def annotate_entry(name: str, image: str, changes: EntryChanges, *, store: str = "") -> Descriptor:
    """Change what an index says of one of its entries, which is named by its digest or its platform.

    Raises: ImageError if there is none or are several.
    """

    def annotate(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        chosen = _choose(entries, image, name)
        return [_changed(entry, changes) if entry is chosen else entry for entry in entries]

    with Store.open(store or default_store_path()) as opened, opened.adding():
        return _change(opened, name, annotate)


def annotate_index(name: str, annotations: dict[str, str], *, store: str = "") -> Descriptor:
    """Set annotations of the index itself; an empty value takes one away."""
    with Store.open(store or default_store_path()) as opened, opened.adding():
        descriptor, document = _read(opened, name)
        if document.get("mediaType") == DOCKER_LIST:
            raise ImageError("a manifest list in Docker's form has no annotations", where=name)
        merged = {**(document.get("annotations") or {}), **annotations}
        document["annotations"] = {key: value for key, value in merged.items() if value}
        return _tag(opened, document, _name_of(descriptor, name))


def remove_from_index(name: str, image: str, *, store: str = "") -> Descriptor:
    """Take an entry, named by its digest or its platform, out of an index; the new index."""

    def remove(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        chosen = _choose(entries, image, name)
        return [entry for entry in entries if entry is not chosen]

    with Store.open(store or default_store_path()) as opened, opened.adding():
        return _change(opened, name, remove)


def read_index(name: str, *, store: str = "") -> dict[str, Any]:
    """The index that has a name in the store, as a document.  Raises: ImageError if it is none."""
    with Store.open(store or default_store_path()) as opened:
        return _read(opened, name)[1]


def _read(store: Store, name: str) -> tuple[Descriptor, dict[str, Any]]:
    descriptor = store.find(name)
    if essence(descriptor.media_type) not in INDEXES:
        raise ImageError("image is no index", where=name, hint="make one with create")
    data = store.read_document(descriptor)
    children_of(data, descriptor)  # refuses what is malformed
    return descriptor, parse_document(data, where=str(descriptor.digest))


def _change(
    store: Store, name: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> Descriptor:
    descriptor, document = _read(store, name)
    document["manifests"] = change(list(document.get("manifests") or []))
    return _tag(store, document, _name_of(descriptor, name))


def _name_of(descriptor: Descriptor, name: str) -> str:
    return descriptor.annotations.get(REF_NAME) or name


def _tag(store: Store, document: dict[str, Any], name: str) -> Descriptor:
    made = store.put_blob(json.dumps(document, indent=2).encode(), document["mediaType"])
    before = [entry for entry in store.entries() if name_of(entry) == name]
    store.tag(made, name)
    # The index that had the name is of no use to anybody; an image would be, and stays without one.
    if before and before[0]["digest"] != str(made.digest) and before[0]["mediaType"] in INDEXES:
        named = [entry for entry in store.entries() if entry["digest"] == before[0]["digest"]]
        if named and not any(name_of(entry) for entry in named):
            store.remove(before[0]["digest"])
    return made


def _entries_of(
    image: str,
    store: Store,
    place: str,
    registry: RegistryOptions | None,
    *,
    whole: bool,
    platform: Platform | None,
) -> list[dict[str, Any]]:
    """Copy an image into the store; what an index has to say of it, or of all that it consists of."""
    source = open_source(image, store=place, registry=registry)
    # Without `commit` it gets no entry of its own; the caller's lock keeps it until the index refers to it.
    destination = LayoutDestination(store.path, "")
    try:
        options = CopyOptions(every_platform=whole, platform=platform)
        root = copy_image(source, destination, options).root
        data = store.read_document(root)
        if essence(root.media_type) in INDEXES:
            return [dict(entry) for entry in parse_document(data, where=image).get("manifests") or []]
        # Of an artifact there is no platform to be told.
        config = read_image(source, platform).config if root.platform is None else {}
    finally:
        destination.close()
        source.close()
    entry = root.replace(annotations={}).to_entry()
    if config.get("os"):
        told = {
            key: config.get(key) for key in ("architecture", "os", "variant", "os.version", "os.features")
        }
        entry["platform"] = {key: value for key, value in told.items() if value}
    return [entry]


def _changed(entry: dict[str, Any], changes: EntryChanges) -> dict[str, Any]:
    platform = dict(entry.get("platform") or {})
    given = {
        "os": changes.os,
        "architecture": changes.architecture,
        "variant": changes.variant,
        "os.version": changes.os_version,
        "os.features": list(changes.os_features),
    }
    platform |= {key: value for key, value in given.items() if value}
    made = {**entry, "platform": platform} if platform else dict(entry)
    if changes.annotations:
        merged = {**(entry.get("annotations") or {}), **changes.annotations}
        made["annotations"] = {key: value for key, value in merged.items() if value}
    return made


def _choose(entries: list[dict[str, Any]], text: str, name: str) -> dict[str, Any]:
    """The entry that a digest, the begin of one, or OS/ARCH[/VARIANT] means."""
    digits = text.removeprefix("sha256:")
    by_digest = [
        entry
        for entry in entries
        if len(digits) >= 6 and entry["digest"].removeprefix("sha256:").startswith(digits)
    ]
    found = by_digest or [entry for entry in entries if _platform_text(entry) == text]
    if len({entry["digest"] for entry in found}) != 1:
        there = ", ".join(f"{entry['digest']} {_platform_text(entry)}".strip() for entry in entries)
        what = "means several entries" if found else "is no entry of the index"
        raise ImageError(f"{text!r} {what}", where=name, hint=f"entries: {there or 'none'}")
    return found[0]


def _platform_text(entry: dict[str, Any]) -> str:
    platform = entry.get("platform") or {}
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key))
