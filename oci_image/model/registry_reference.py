"""Names of images in registries: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

Source: distribution-spec, "Pulling manifests"; what is left out is filled in as Docker does it.
"""

from __future__ import annotations

import re

from oci_image.errors import ImageError
from oci_image.model.digest import Digest, parse_digest
from oci_image.value import Value
from pyruntime.base.errors import UsageError

DOCKER_HUB = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")


class RegistryReference(Value):
    """A repository of a registry, and a tag or digest in it; the digest decides where both are given."""

    host: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        text = f"{self.host}/{self.repository}"
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text

    @property
    def selector(self) -> str:
        """What stands in the URL of the manifest."""
        return str(self.digest) if self.digest else self.tag or "latest"


def parse_registry_reference(text: str, *, default_tag: str = "latest") -> RegistryReference:
    """Parse a reference; UsageError with what is wrong."""
    rest, at, digest_text = text.partition("@")
    host, path = split_host(rest)
    path, colon, tag = path.partition(":")
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    hint = "write [HOST[:PORT]/]PATH[:TAG|@DIGEST], the path in lower case"
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path) or len(host) + len(path) > 255:
        raise UsageError(f"invalid image name {text!r}", hint=hint)
    if colon and not _TAG.fullmatch(tag):
        raise UsageError(f"image name {text!r} has an invalid tag", hint=hint)
    try:
        digest = parse_digest(digest_text) if at else None
    except ImageError as error:
        raise UsageError(f"image name {text!r}: {error.what}", hint=hint) from None
    return RegistryReference(host, path, tag or ("" if at else default_tag), digest)


def split_host(text: str) -> tuple[str, str]:
    """The host that a name begins with, or else Docker Hub, and the rest."""
    first, slash, remainder = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return first, remainder
    return DOCKER_HUB, text


def full_name(text: str) -> str:
    """The complete form of a name, or the text itself if it is no name of a registry."""
    try:
        return str(parse_registry_reference(text))
    except UsageError:
        return text


def same_name(one: str, other: str) -> bool:
    """Whether two names mean the same image once what is left out is filled in."""
    return one == other or full_name(one) == full_name(other)
