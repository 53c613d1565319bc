"""Variables and quotes in the words of instructions, as the Dockerfile reference has them.

Source: Dockerfile reference, "Environment replacement", "Escape"; patterns as in POSIX shells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from oci_image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Lookup = Callable[[str], str | None]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?!$-]")
_MODIFIER = re.compile(r":[-+?]|##|%%|//|[-+?#%/]")
_MAX_NESTING = 50


def expand_word(text: str, lookup: Lookup, escape: str = "\\") -> str:
    """The text with variables put in and quotes taken away, as one word; ImageError for what has no end."""
    return "".join(piece for piece, _ in _Expander(text, lookup, escape).until(""))


def expand_text(text: str, lookup: Lookup, escape: str = "\\") -> str:
    """The text with variables put in, as in here-documents: quotes are text, and only $ needs an escape."""
    return "".join(piece for piece, _ in _Expander(text, lookup, escape, quotes=False).until(""))


def expand_words(text: str, lookup: Lookup, escape: str = "\\") -> list[str]:
    """The same as words: split at blanks that stand in no quotes, also in those that variables bring in."""
    words: list[str] = []
    open_word = False
    for piece, quoted in _Expander(text, lookup, escape).until(""):
        if quoted:
            words = [*words[:-1], words[-1] + piece] if open_word else [*words, piece]
            open_word = True
            continue
        for part in re.findall(r"\s+|\S+", piece):
            if part.isspace():
                open_word = False
            elif open_word:
                words[-1] += part
            else:
                words.append(part)
                open_word = True
    return words


def split_words(text: str, escape: str = "\\") -> list[str]:
    """The words of a text, split at blanks outside of quotes; quotes and variables are left as they are."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == escape and quote != "'" and position < len(text):
            word += char + text[position]
            position += 1
        elif quote:
            quote = "" if char == quote else quote
            word += char
        elif char.isspace():
            words, word = ([*words, word], "") if word else (words, "")
        else:
            quote = char if char in "'\"" else ""
            word += char
    return [*words, word] if word else words


def split_pairs(text: str, keyword: str, lookup: Lookup, escape: str = "\\") -> list[tuple[str, str]]:
    """The pairs of ENV or LABEL: NAME=VALUE NAME=VALUE..., or NAME VALUE up to the end of the line."""
    words = split_words(text, escape)
    if "=" not in words[0]:
        name, _, rest = re.sub(r"\s+", " ", text, count=1).partition(" ")
        if not rest.strip():
            raise ImageError(f"{keyword} must have two arguments", hint=f"write {keyword} NAME=VALUE")
        return [(expand_word(name, lookup, escape), expand_word(rest.strip(), lookup, escape))]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        name = expand_word(name, lookup, escape)
        if not equals:
            raise ImageError(
                f"{keyword}: {word[:60]!r} has no value",
                hint="write NAME=VALUE, with quotes around blanks",
            )
        if not name:
            raise ImageError(f"{keyword} names can not be blank")
        pairs.append((name, expand_word(value, lookup, escape)))
    return pairs


class _Expander:
    """Goes through a text once; pieces are (text, whether it stood in quotes)."""

    def __init__(self, text: str, lookup: Lookup, escape: str, *, quotes: bool = True) -> None:
        self._text = text
        self._quotes = quotes
        self._lookup = lookup
        self._escape = escape
        self._position = 0
        self._nesting = 0

    def until(self, stop: str, *, keep_escapes: bool = False) -> list[tuple[str, bool]]:
        """The pieces up to one of the characters `stop`, which is consumed, or with "" up to the end."""
        pieces: list[tuple[str, bool]] = []
        while self._position < len(self._text):
            char = self._take()
            if stop and char in stop:
                return pieces
            if char == self._escape and not self._quotes:
                literal = self._text[self._position : self._position + 1]
                escaped = literal in ("$", self._escape) and bool(literal)
                self._position += escaped
                pieces.append((literal if escaped else char, True))
            elif char in "'\"" and not self._quotes:
                pieces.append((char, True))
            elif char == "'":
                pieces.append((self._single_quoted(), True))
            elif char == '"':
                pieces.append((self._double_quoted(), True))
            elif char == "$":
                pieces.append((self._dollar(), False))
            elif char == self._escape:
                if self._position < len(self._text):
                    literal = self._take()
                    pieces.append((char + literal if keep_escapes else literal, True))
            else:
                pieces.append((char, False))
        if stop:
            raise ImageError(f"unexpected end of statement while looking for {stop!r}")
        return pieces

    def _take(self) -> str:
        self._position += 1
        return self._text[self._position - 1]

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position)
        if end < 0:
            raise ImageError("unexpected end of statement while looking for matching single-quote")
        found = self._text[self._position : end]
        self._position = end + 1
        return found

    def _double_quoted(self) -> str:
        found = ""
        while self._position < len(self._text):
            char = self._take()
            if char == '"':
                return found
            if char == "$":
                found += self._dollar()
            elif char == self._escape and self._position < len(self._text):
                literal = self._take()
                found += literal if literal in ('"', "$", self._escape) else char + literal
            else:
                found += char
        raise ImageError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        braces = self._text.startswith("{", self._position)
        matched = _NAME.match(self._text, self._position + braces)
        if not matched:
            if braces:
                raise ImageError("${ without the name of a variable", hint="write \\$ for a dollar sign")
            return "$"
        name = matched[0]
        self._position = matched.end()
        value = self._lookup(name)
        if not braces:
            return value or ""
        if self._text.startswith("}", self._position):
            self._position += 1
            return value or ""
        modifier = _MODIFIER.match(self._text, self._position)
        if not modifier:
            raise ImageError(f"unsupported modifier or missing '}}' after ${{{name}")
        self._position = modifier.end()
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise ImageError("variables are nested too deeply")
        try:
            return self._modified(name, value, modifier[0])
        finally:
            self._nesting -= 1

    def _modified(self, name: str, value: str | None, modifier: str) -> str:
        if modifier in ("/", "//"):
            pattern = self._word("/", keep_escapes=True)
            replacement = self._word("}")
            count = 0 if modifier == "//" else 1
            compiled = _pattern(pattern, greedy=True)
            return re.sub(compiled, lambda _: replacement, value or "", count=count) if pattern else value or ""
        word = self._word("}", keep_escapes=modifier[0] in "#%")
        if modifier[0] in "#%":
            return _cut(value or "", word, modifier)
        there = bool(value) if modifier[0] == ":" else value is not None
        if modifier[-1] == "-":
            return value or "" if there else word
        if modifier[-1] == "+":
            return word if there else ""
        if not there:
            raise ImageError(f"{name}: {word or 'not allowed to be unset'}")
        return value or ""

    def _word(self, stop: str, *, keep_escapes: bool = False) -> str:
        return "".join(piece for piece, _ in self.until(stop, keep_escapes=keep_escapes))


def _pattern(text: str, *, greedy: bool) -> str:
    """A shell's pattern as a regular expression."""
    expression, position = "", 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*":
            expression += ".*" if greedy else ".*?"
        elif char == "?":
            expression += "."
        elif char == "\\" and position < len(text):
            expression += re.escape(text[position])
            position += 1
        else:
            expression += re.escape(char)
    return f"(?s:{expression})"


def _cut(value: str, pattern: str, modifier: str) -> str:
    """The value without the shortest (#, %) or longest (##, %%) match at its begin or end."""
    if modifier[0] == "#":
        matched = re.match(_pattern(pattern, greedy=len(modifier) == 2), value)
        return value[matched.end() :] if matched else value
    compiled = re.compile(_pattern(pattern, greedy=True))
    starts = range(len(value) + 1) if len(modifier) == 2 else range(len(value), -1, -1)
    return next((value[:start] for start in starts if compiled.fullmatch(value, start)), value)
