"""Ranges of semantic versions, as files for `sync` write them: `>=1.2, <2`, `~1.2.3`, `^1`, `1.2 - 1.4`, `1.x`.

Source: semver.org 2.0.0, section 11 for the order; the ranges are those that skopeo and npm share.
"""

from __future__ import annotations

import re

from oci_image.value import Value
from pyruntime.base.errors import UsageError

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_PART = r"v?(?:\d+|[xX*])(?:\.(?:\d+|[xX*])){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_HYPHEN = re.compile(rf"({_PART})\s+-\s+({_PART})")
_TERM = re.compile(rf"(=|!=|>=|=>|<=|=<|>|<|~>|~|\^)?\s*({_PART})")
_Key = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
_LAST: tuple[tuple[int, int, str], ...] = ((2, 0, ""),)  # a release comes after all of its pre-releases


class _Bounds(Value):
    """Versions from `low` on and below `high`, either may be open; with `inverted` the others."""

    low: _Key | None
    high: _Key | None
    inverted: bool = False

    def holds(self, key: _Key) -> bool:
        inside = (self.low is None or key >= self.low) and (self.high is None or key < self.high)
        return inside != self.inverted


class VersionRange(Value):
    """Alternatives, each of which is a list of bounds that must all hold."""

    alternatives: tuple[tuple[_Bounds, ...], ...]
    with_previews: bool

    def holds(self, text: str) -> bool:
        """Whether a text is a version in the range; pre-releases only if the range names one."""
        found = _VERSION.fullmatch(text)
        if not found or (found[4] and not self.with_previews):
            return False
        key = _key(text)
        return any(all(bounds.holds(key) for bounds in every) for every in self.alternatives)


def parse_version_range(text: str) -> VersionRange:
    """Parse a range; UsageError if it is none."""
    alternatives = tuple(tuple(_parse_all(part, text)) for part in text.split("||"))
    return VersionRange(alternatives, with_previews="-" in _HYPHEN.sub("", text))


def _parse_all(part: str, whole: str) -> list[_Bounds]:
    part = part.strip()
    found = [_Bounds(_key(_floor(hyphen[1])), _key(_ceiling(hyphen[2]))) for hyphen in _HYPHEN.finditer(part)]
    rest = _HYPHEN.sub(" ", part)
    end = 0
    for term in _TERM.finditer(rest):
        if rest[end : term.start()].strip(" ,"):
            break
        found.append(_bounds(term[1] or "=", term[2]))
        end = term.end()
    if rest[end:].strip(" ,") or (not found and part not in ("", "*")):
        raise UsageError(
            f"invalid range of versions {whole!r}", hint="write for example '>=1.2, <2' or '~1.2'"
        )
    return found


def _bounds(sign: str, version: str) -> _Bounds:
    low, high = _key(_floor(version)), _key(_ceiling(version))
    if sign in ("=", "!="):
        return _Bounds(low, high, inverted=sign == "!=")
    if sign in (">=", "=>"):
        return _Bounds(low, None)
    if sign == ">":
        return _Bounds(high, None)
    if sign == "<":
        return _Bounds(None, low)
    if sign in ("<=", "=<"):
        return _Bounds(None, high)
    major, minor, patch, _ = low
    if sign == "^" and major == 0 and _numbers(version)[1] is not None:
        limit = (
            f"0.{minor + 1}.0"
            if minor
            else f"0.0.{patch + 1}"
            if _numbers(version)[2] is not None
            else "0.1.0"
        )
    elif sign == "^" or _numbers(version)[1] is None:
        limit = f"{major + 1}.0.0"
    else:
        limit = f"{major}.{minor + 1}.0"
    return _Bounds(low, _key(f"{limit}-0"))


def _numbers(version: str) -> tuple[int | None, int | None, int | None]:
    """Major, minor and patch; None from the first on that is missing or any."""
    parts = re.split(r"[-+]", version.lstrip("v"), maxsplit=1)[0].split(".")
    numbers = [int(part) if part.isdigit() else None for part in parts] + [None, None]
    for place in (0, 1):
        if numbers[place] is None:
            numbers[place + 1] = None
    return numbers[0], numbers[1], numbers[2]


def _floor(version: str) -> str:
    major, minor, patch = _numbers(version)
    preview = re.search(r"-[0-9A-Za-z.-]+", version)
    return f"{major or 0}.{minor or 0}.{patch or 0}" + (preview[0] if preview and patch is not None else "")


def _ceiling(version: str) -> str:
    """The first version behind what a text stands for, which may be all of `1` or of `1.2`."""
    major, minor, patch = _numbers(version)
    if major is None:
        return "999999999.0.0"
    if minor is None:
        return f"{major + 1}.0.0-0"
    if patch is None:
        return f"{major}.{minor + 1}.0-0"
    if "-" in version:
        return f"{_floor(version)}.0"  # the next that can be: one identifier more
    return f"{major}.{minor}.{patch + 1}-0"


def _key(version: str) -> _Key:
    found = _VERSION.fullmatch(version)
    assert found is not None, version
    preview = tuple(
        (0, int(word), "") if word.isdigit() else (1, 0, word) for word in (found[4] or "").split(".") if word
    )
    return int(found[1]), int(found[2] or 0), int(found[3] or 0), preview or _LAST
