"""Mirroring many images at once: registries, directories, layouts, and lists in a file, in every direction.

The names at the destination are those that `skopeo sync` gives: the last component of the repository with
its tag, or with `scoped` the whole name with its registry.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from oci_image.errors import ImageError
from oci_image.model.registry_reference import RegistryReference, parse_registry_reference
from oci_image.model.version_range import parse_version_range
from oci_image.registry.credentials import Credentials
from oci_image.registry.listing import list_tags
from oci_image.registry.options import RegistryOptions
from oci_image.store.content import Store
from oci_image.store.layout import REF_NAME
from oci_image.transfer import copy
from oci_image.value import Value
from pyruntime.base.errors import ExpectedError, UsageError, errno_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from oci_image.copying import CopyOptions, CopyResult

SOURCES = ("docker", "dir", "oci", "yaml")
DESTINATIONS = ("docker", "dir", "oci")
_KEYS = frozenset(
    {"images", "images-by-tag-regex", "images-by-semver", "credentials", "tls-verify", "cert-dir"}
)


class SyncItem(Value):
    """One image to be copied: where it is, its short and its whole name, and how to reach its registry."""

    source: str
    name: str
    scoped_name: str
    registry: RegistryOptions


class Synced(Value):
    """What became of an item: exactly one of `result` and `error` is there, and neither in a dry run."""

    item: SyncItem
    destination: str
    result: CopyResult | None = None
    error: ExpectedError | None = None


def find_images(kind: str, place: str, registry: RegistryOptions | None = None) -> list[SyncItem]:
    """The images of a place: "docker" [HOST/]PATH[:TAG], "dir" and "oci" a directory, "yaml" a file.

    Without a tag all tags of a repository are meant.
    Raises: UsageError, RegistryError, ImageError if there is nothing, or the file says something wrong.
    """
    registry = registry or RegistryOptions()
    if kind == "docker":
        found = _of_repository(parse_registry_reference(place, default_tag=""), registry)
    elif kind == "dir":
        found = _of_directory(place, registry)
    elif kind == "oci":
        found = _of_layout(place, registry)
    elif kind == "yaml":
        found = list(_of_file(place, registry))
    else:
        raise UsageError(f"cannot sync from {kind!r}", hint=f"kinds: {', '.join(SOURCES)}")
    if not found:
        raise ImageError("there are no images to sync", where=place)
    return found


def sync(
    items: Iterable[SyncItem],
    kind: str,
    place: str,
    options: CopyOptions | None = None,
    *,
    registry: RegistryOptions | None = None,
    scoped: bool = False,
    suffix: str = "",
    keep_going: bool = False,
    dry_run: bool = False,
) -> Iterator[Synced]:
    """Copy images to "docker" HOST/PATH, "dir" DIRECTORY or "oci" LAYOUT; each is yielded when it is done.

    `suffix` is put behind tags.  `registry` says how to reach the destination.  Without `keep_going` the first
    failure is raised; with it, failures are yielded.

    Raises: UsageError, and as `oci_image.transfer.copy`.
    """
    for item in items:
        destination = _destination(kind, place, (item.scoped_name if scoped else item.name) + suffix)
        if dry_run:
            yield Synced(item, destination)
            continue
        try:
            result = copy(
                item.source, destination, options, registry=item.registry, destination_registry=registry
            )
        except ExpectedError as error:
            if not keep_going:
                raise
            yield Synced(item, destination, error=error)
        else:
            yield Synced(item, destination, result)


def _destination(kind: str, place: str, name: str) -> str:
    if kind == "docker":
        return f"docker://{place.removeprefix('docker://').rstrip('/')}/{name}"
    if kind == "oci":
        return f"oci:{place}:" + re.sub("@([a-z0-9]+):", r"@\1-", name)  # a digest is no name
    if kind == "dir":
        path = os.path.join(place, name)
        if os.path.relpath(path, place).startswith(".."):
            raise UsageError(f"image {name!r} would be written outside of {place}")
        return f"dir:{path}"
    raise UsageError(f"cannot sync to {kind!r}", hint=f"kinds: {', '.join(DESTINATIONS)}")


def _of_repository(
    reference: RegistryReference,
    registry: RegistryOptions,
    chosen: Callable[[str], bool] = lambda _tag: True,
) -> list[SyncItem]:
    """The one image that is named, or every tag that is chosen."""
    if reference.tag or reference.digest:
        return [_item(reference, registry)]
    tags = list_tags(reference, registry)
    return [_item(reference.replace(tag=tag), registry) for tag in tags if chosen(tag)]


def _item(reference: RegistryReference, registry: RegistryOptions) -> SyncItem:
    whole = str(reference)
    # Behind the last '/' of the path: a digest has none.
    return SyncItem(f"docker://{whole}", whole.rpartition("/")[2], whole, registry)


def _of_directory(place: str, registry: RegistryOptions) -> list[SyncItem]:
    if os.path.isfile(os.path.join(place, "manifest.json")):
        name = os.path.basename(os.path.abspath(place))
        return [SyncItem(f"dir:{place}", name, name, registry)]
    found = []
    for folder, folders, files in os.walk(place):
        folders.sort()
        if "manifest.json" in files:
            folders.clear()
            name = os.path.relpath(folder, place)
            found.append(SyncItem(f"dir:{folder}", os.path.basename(name), name, registry))
    return found


def _of_layout(place: str, registry: RegistryOptions) -> list[SyncItem]:
    with Store.open(place) as store:
        entries = store.index().manifests
    named = [(entry, entry.annotations.get(REF_NAME, "")) for entry in entries]
    return [
        SyncItem(f"oci:{place}@{entry.digest}", name.rpartition("/")[2], name, registry)
        for entry, name in named
        if name
    ]


def _of_file(path: str, registry: RegistryOptions) -> Iterator[SyncItem]:
    for host, settings in _read_file(path).items():
        where = f"{path} /{host}"
        if not isinstance(settings, dict) or set(settings) - _KEYS:
            raise ImageError(
                "registry is not described", where=where, hint=f"known: {', '.join(sorted(_KEYS))}"
            )
        options = _options_of(settings, registry)
        for name, tags in (settings.get("images") or {}).items():
            reference = parse_registry_reference(f"{host}/{name}", default_tag="")
            if not tags:
                yield from _of_repository(reference, options)
            for tag in tags or []:
                mark = "@" if ":" in str(tag) else ":"
                yield _item(parse_registry_reference(f"{host}/{name}{mark}{tag}"), options)
        for name, expression in (settings.get("images-by-tag-regex") or {}).items():
            reference = parse_registry_reference(f"{host}/{name}", default_tag="")
            yield from _of_repository(reference, options, _matching(str(expression), where))
        for name, versions in (settings.get("images-by-semver") or {}).items():
            reference = parse_registry_reference(f"{host}/{name}", default_tag="")
            yield from _of_repository(reference, options, parse_version_range(str(versions)).holds)


def _matching(expression: str, where: str) -> Callable[[str], bool]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ImageError(f"invalid expression {expression!r}: {error}", where=where) from None
    return lambda tag: pattern.search(tag) is not None


def _options_of(settings: dict[str, Any], registry: RegistryOptions) -> RegistryOptions:
    """What the file says of one registry, over what holds for all."""
    given = settings.get("credentials") or {}
    if given.get("username"):
        credentials = Credentials(str(given["username"]), str(given.get("password") or ""))
        registry = registry.replace(credentials=credentials)
    if settings.get("tls-verify") is not None:
        registry = registry.replace(insecure=not settings["tls-verify"])
    if settings.get("cert-dir"):
        registry = registry.replace(cert_dir=str(settings["cert-dir"]))
    return registry


def _read_file(path: str) -> dict[str, Any]:
    """A document in YAML, or in JSON, which needs no further package."""
    try:
        with open(path, encoding="utf-8") as source:
            text = source.read()
    except OSError as error:
        raise ImageError(f"cannot read: {errno_text(error.errno or 0)}", where=path) from None
    try:
        document = json.loads(text)
    except ValueError:
        document = _parse_yaml(text, path)
    if not isinstance(document, dict):
        raise ImageError("document is not a map of registries", where=path)
    return document


def _parse_yaml(text: str, path: str) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        import yaml
    except ImportError:
        raise ImageError(
            "reading YAML needs the package PyYAML", where=path, hint="install it, or write the file as JSON"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ImageError(f"not valid YAML: {error}", where=path) from None
