"""Patterns of paths: wildcards in COPY and ADD, and .dockerignore.

Source: Go's path.Match; Dockerfile reference, ".dockerignore file".
"""

from __future__ import annotations

import posixpath
import re
from oci_image.value import Value

from oci_image.errors import ImageError

_WILD = re.compile(r"[*?\[\\]")


def is_pattern(text: str) -> bool:
    """Whether a path has a wildcard in it."""
    return bool(_WILD.search(text))


def compile_pattern(text: str, *, across: bool = False) -> re.Pattern[str]:
    """What a pattern matches whole; with `across` two stars stand for any number of directories.

    Raises: ImageError for a pattern that has no end.
    """
    expression, position = "", 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*" and across and text.startswith("*", position):
            while text.startswith("*", position):
                position += 1
            if text.startswith("/", position):
                position += 1
                expression += "(?:.*/)?"
            else:
                expression += ".*"
        elif char == "*":
            expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif char == "[":
            part, position = _range(text, position)
            expression += part
        elif char == "\\":
            if position == len(text):
                raise ImageError(f"pattern {text!r} ends in an escape")
            expression += re.escape(text[position])
            position += 1
        else:
            expression += re.escape(char)
    return re.compile(f"(?s:{expression})")


def _range(text: str, position: int) -> tuple[str, int]:
    """The regular expression of [...], and where it ends; `position` is behind the bracket."""
    negated = text.startswith("^", position) or text.startswith("!", position)
    position += negated
    members = ""
    while position < len(text) and (text[position] != "]" or not members):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            position += 1
            members += re.escape(text[position])
        else:
            members += char if char == "-" and members else re.escape(char)
        position += 1
    if position >= len(text):
        raise ImageError(f"pattern {text!r} has a '[' without its ']'")
    try:
        re.compile(f"[{members}]")
    except re.error:
        raise ImageError(f"pattern {text!r} has a range that is none") from None
    return f"(?!/)[{'^' if negated else ''}{members}]", position + 1


class IgnoreRules(Value):
    """What a .dockerignore file leaves out: patterns in order, each with whether it brings back."""

    rules: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @property
    def brings_back(self) -> bool:
        """Whether something below a directory that is left out may come back."""
        return any(back for _, back in self.rules)

    def leaves_out(self, path: str) -> bool:
        """Whether `path`, from the context's root, is left out; the last pattern that matches decides."""
        if not self.rules:
            return False
        parts = path.split("/")
        prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        out = False
        for pattern, back in self.rules:
            if back == out and any(pattern.fullmatch(prefix) for prefix in prefixes):
                out = not back
        return out


def parse_ignore(data: bytes, *, where: str) -> IgnoreRules:
    """Read the content of a .dockerignore file; ImageError names the line at fault."""
    rules = []
    for number, line in enumerate(data.decode("utf-8-sig", "surrogateescape").splitlines(), 1):
        text = line.strip() if not line.startswith("#") else ""
        back = text.startswith("!")
        text = text[back:].strip()
        if not text:
            if back:
                raise ImageError("a '!' without a pattern", where=f"{where}:{number}")
            continue
        cleaned = posixpath.normpath(text).lstrip("/")
        try:
            rules.append((compile_pattern(cleaned, across=True), back))
        except ImageError as error:
            raise ImageError(error.what, where=f"{where}:{number}", hint=error.hint) from None
    return IgnoreRules(tuple(rules))
