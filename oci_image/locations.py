"""Images by transport and place, as the command line writes them: `oci:DIR:NAME`, `docker://HOST/PATH:TAG`.

A text without a transport is the name of an image of the store.  `@DIGEST` and `@N`, the place in the index
from 0, mean one image of a layout or an archive, to read from.
"""

from __future__ import annotations

import os
import re

from oci_image.errors import ImageError
from oci_image.model.digest import parse_digest
from oci_image.model.reference import Reference, parse_image_name
from oci_image.model.registry_reference import full_name, parse_registry_reference
from oci_image.store.content import Store, default_store_path
from oci_image.store.layout import REF_NAME
from oci_image.transports.directory import DirectoryDestination, DirectorySource
from oci_image.transports.layout import LayoutDestination, LayoutSource
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.registry.options import RegistryOptions
    from oci_image.transports.interface import Destination, Source

TRANSPORTS = ("docker://", "oci-archive:", "docker-archive:", "oci:", "dir:")


def split_location(text: str) -> tuple[str, str, str]:
    """Transport ("" for the store), place and name; UsageError for a place that is empty."""
    for transport in TRANSPORTS:
        if text.startswith(transport):
            rest = text[len(transport) :]
            if transport in ("docker://", "dir:"):
                place, name = rest, ""
            elif re.search(r"@\w+:[^@]*$", rest) or re.fullmatch(r"[^:]*@\d+", rest):
                place, _, name = rest.rpartition("@")
                name = "@" + name
            else:
                place, _, name = rest.partition(":")
            if not place:
                raise UsageError(f"{text!r} names no place", hint=f"write {transport}PLACE[:NAME]")
            return transport, place, name
    if not text:
        raise UsageError("image has no name")
    return "", text, ""


def locate_image(text: str, *, store: str = "", new: bool = False) -> tuple[str, Reference]:
    """The layout and the reference in it that a name means: `LAYOUT[:TAG|@DIGEST]`, or a name of the store.

    A directory of that name comes first, and so does whatever begins like a path.  With `new` the name is that of
    an image to be made, which need not be there.

    Raises: UsageError, ImageError if the store has no such image.
    """
    if text.startswith("oci:"):  # as the verbs that copy have it
        _, place, name = split_location(text)
        return place, _reference(name)
    if re.match(r"[^@]*@[^@/]+$", text) or not text.startswith("@"):
        layout, reference = parse_image_name(text)
        if text.startswith(("/", "./", "../")) or os.path.isdir(layout):
            return layout, reference
    place = store or default_store_path()
    with Store.open(place, create=new or not os.path.isdir(place)) as opened:
        try:
            entry = opened.find(text)
        except ImageError as error:
            if not new:
                hint = f"{error.hint}, and there is no layout in a directory of that name"
                raise ImageError(error.what, where=error.where, hint=hint) from None
            return place, Reference(tag=full_name(text))
    named = entry.annotations.get(REF_NAME, "")
    exact = named and not entry.digest.encoded.startswith(text.removeprefix("sha256:"))
    return place, Reference(tag=full_name(text) if new else named) if exact else Reference(
        digest=entry.digest
    )


def tag_in(layout: str, tag: str) -> str:
    """The tag as images are named there: in the store names are whole, in other layouts they are what they are."""
    return full_name(tag) if tag and layout == default_store_path() else tag


def _reference(name: str) -> Reference:
    if name[:1] == "@" and name[1:].isdigit():
        return Reference(position=int(name[1:]))
    return Reference(digest=parse_digest(name[1:])) if name.startswith("@") else Reference(tag=name)


def open_source(text: str, *, store: str = "", registry: RegistryOptions | None = None) -> Source:
    """The image that `text` names, to copy from.  Raises: UsageError, ImageError."""
    transport, place, name = split_location(text)
    if transport == "":
        return LayoutSource(store or default_store_path(), place)
    if transport == "oci:":
        return LayoutSource(place, _reference(name))
    if transport == "dir:":
        return DirectorySource(place)
    if transport == "docker://":
        from oci_image.registry.source import RegistrySource

        return RegistrySource(parse_registry_reference(place), registry)
    from oci_image.transports.archive_source import ArchiveSource

    return ArchiveSource(place, _reference(name))


def open_destination(
    text: str, *, store: str = "", registry: RegistryOptions | None = None, mount_from: str = ""
) -> Destination:
    """The place that `text` names, to copy to; blobs may be mounted from another repository of a registry.

    Raises: UsageError, ImageError.
    """
    transport, place, name = split_location(text)
    if name.startswith("@"):
        raise UsageError(f"{text!r}: an image cannot be given a digest or a position as its name")
    if transport == "":
        layout = store or default_store_path()
        return LayoutDestination(layout, tag_in(layout, place))
    if transport == "oci:":
        return LayoutDestination(place, name)
    if transport == "dir:":
        return DirectoryDestination(place)
    if transport == "docker://":
        from oci_image.registry.destination import RegistryDestination

        return RegistryDestination(parse_registry_reference(place), registry, mount_from)
    from oci_image.transports.archive_destination import ArchiveDestination

    return ArchiveDestination(place, name, docker=transport == "docker-archive:")
