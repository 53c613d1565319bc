"""Platforms: naming this machine's and choosing the best entry of an index.

Source: image-spec image-index.md; the normal names are Go's, as every writer uses them.
"""

from __future__ import annotations

import os

from oci_image.value import Value
from pyruntime.base.errors import UsageError

# Name in the field -> (architecture, variant) in normal form.
_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
    "mips64el": ("mips64le", ""),
}
_DEFAULT_VARIANTS = {"arm64": "v8", "amd64": "v1", "arm": "v7"}


class Platform(Value):
    """Operating system, architecture and variant in normal form."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def normal(self) -> Platform:
        """The same platform under the names that indexes use, default variants filled in."""
        system, architecture = self.os.lower(), self.architecture.lower()
        alias, variant = _ALIASES.get(architecture, (architecture, ""))
        return Platform(system, alias, self.variant.lower() or variant or _DEFAULT_VARIANTS.get(alias, ""))

    def suits(self, wanted: Platform) -> int:
        """How well an image of this platform runs on `wanted`: 0 not at all, 1 or more the better."""
        mine, other = self.normal(), wanted.normal()
        if (mine.os, mine.architecture) != (other.os, other.architecture):
            return 0
        if mine.variant == other.variant:
            return 100
        if mine.architecture == "arm" and _level(mine.variant) < _level(other.variant):
            return 10 + _level(mine.variant)
        return 0


def _level(variant: str) -> int:
    return int(variant[1:]) if variant[:1] == "v" and variant[1:].isdigit() else 0


def parse_platform(text: str) -> Platform:
    """Parse `os/architecture[/variant]`."""
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise UsageError(f"invalid platform {text!r}", hint="write os/architecture[/variant], as linux/arm64")
    return Platform(*parts)


def host_platform() -> Platform:
    """The platform of this machine."""
    return Platform("linux", os.uname().machine).normal()
