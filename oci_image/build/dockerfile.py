"""Reading a Dockerfile: its instructions, each with the lines it stands on.

Only the grammar is here: directives, comments, continued lines, flags, here-documents and the JSON form.
What an instruction means, and variables, are for whoever carries it out.

Source: Dockerfile reference, "Format", "Parser directives", "Here-Documents".
"""

from __future__ import annotations

import json
import re
from oci_image.value import Value

from oci_image.errors import ImageError

KEYWORDS = frozenset(
    {
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
        "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    }
)  # fmt: skip
_WITH_DOCUMENTS = frozenset({"ADD", "COPY", "RUN"})
_NOT_IN_ONBUILD = frozenset({"FROM", "MAINTAINER", "ONBUILD"})
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
_HEREDOC = re.compile(r"(?<!<)<<(-?)(?:\"([^\"\s]+)\"|'([^'\s]+)'|([A-Za-z0-9_.-]+))(?=\s|$)")
_MAX_BYTES = 4 << 20


class HereDocument(Value):
    """A document in the Dockerfile; variables stand in it only if its name is not quoted."""

    name: str
    content: str
    expand: bool


class Instruction(Value):
    """One instruction: upper-case keyword, flags in order as (name, value), and the rest as one text.

    `words` is the rest in its JSON form, None in the shell form.  `line` and `last_line` count from 1.
    """

    keyword: str
    flags: tuple[tuple[str, str], ...]
    text: str
    words: tuple[str, ...] | None
    documents: tuple[HereDocument, ...]
    line: int
    last_line: int


class Dockerfile(Value):
    """The instructions of a file, and its parser directives by lower-case name."""

    name: str
    instructions: tuple[Instruction, ...]
    directives: dict[str, str]


def parse_dockerfile(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Parse a file called `name` in messages; ImageError with the file and line at fault."""
    if len(data) > _MAX_BYTES:
        raise ImageError(f"file is larger than {_MAX_BYTES} bytes", where=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageError("file is not UTF-8", where=f"{name}:{data[: error.start].count(10) + 1}") from None
    lines = text.replace("\r\n", "\n").split("\n")
    directives = _directives(lines, name)
    reader = _Reader(lines, name, directives.get("escape", "\\"))
    instructions = tuple(reader.instructions())
    first = next((each for each in instructions if each.keyword != "ARG"), None)
    if first is None:
        raise ImageError("file has no FROM instruction", where=name)
    if first.keyword != "FROM":
        raise ImageError(f"{first.keyword} stands before the first FROM", where=f"{name}:{first.line}")
    return Dockerfile(name, instructions, directives)


def _directives(lines: list[str], name: str) -> dict[str, str]:
    """Comments of the form name=value at the very beginning; anything else ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        matched = _DIRECTIVE.fullmatch(line.strip())
        if not matched:
            break
        key, value = matched[1].lower(), matched[2]
        if key not in ("syntax", "escape", "check"):
            break
        if key in found:
            raise ImageError(f"directive {key} is given twice", where=f"{name}:{number}")
        if key == "escape" and value not in ("\\", "`"):
            raise ImageError(f"invalid escape character {value!r}", where=f"{name}:{number}", hint="\\ or `")
        found[key] = value
    return found


class _Reader:
    """Goes through the lines once."""

    def __init__(self, lines: list[str], name: str, escape: str) -> None:
        self._lines = lines
        self._name = name
        self._position = 0
        self._continued = re.compile(re.escape(escape) + r"[ \t]*\Z")

    def instructions(self) -> list[Instruction]:
        found = []
        while self._position < len(self._lines):
            line = self._lines[self._position].strip()
            if line and not line.startswith("#"):
                found.append(self._instruction())
            else:
                self._position += 1
        return found

    def _instruction(self) -> Instruction:
        begin = self._position + 1
        text = self._logical_line().strip()
        keyword, _, rest = (re.sub(r"\s", " ", text, count=1)).partition(" ")
        keyword, rest = keyword.upper(), rest.strip()
        where = f"{self._name}:{begin}"
        if keyword not in KEYWORDS:
            raise ImageError(f"unknown instruction: {keyword[:40]}", where=where)
        if not rest:
            raise ImageError(f"{keyword} requires arguments", where=where)
        if keyword == "ONBUILD":
            inner = rest.split(None, 1)[0].upper()
            if inner in _NOT_IN_ONBUILD or inner not in KEYWORDS:
                raise ImageError(f"{inner[:40]} is not allowed as an ONBUILD trigger", where=where)
        flags = []
        while keyword != "ONBUILD" and (matched := _FLAG.match(rest)):
            flags.append((matched[1], matched[2] or ""))
            rest = rest[matched.end() :]
        documents = self._documents(rest, where) if keyword in _WITH_DOCUMENTS else ()
        return Instruction(keyword, tuple(flags), rest, json_words(rest), documents, begin, self._position)

    def _logical_line(self) -> str:
        """Lines joined where they end in the escape character; comments and empty lines between are not there."""
        parts: list[str] = []
        while self._position < len(self._lines):
            line = self._lines[self._position]
            self._position += 1
            if parts and (not line.strip() or line.lstrip().startswith("#")):
                continue
            matched = self._continued.search(line)
            parts.append(line[: matched.start()] if matched else line)
            if not matched:
                break
        return "".join(parts)

    def _documents(self, text: str, where: str) -> tuple[HereDocument, ...]:
        found = []
        for matched in _HEREDOC.finditer(text):
            dash, double, single, plain = matched.groups()
            name = double or single or plain
            lines = []
            while True:
                if self._position >= len(self._lines):
                    raise ImageError(f"here-document {name} has no end", where=where, hint=f"end it with {name}")
                line = self._lines[self._position]
                self._position += 1
                line = line.lstrip("\t") if dash else line
                if line == name:
                    break
                lines.append(line + "\n")
            found.append(HereDocument(name, "".join(lines), expand=plain is not None))
        return tuple(found)


def json_words(text: str) -> tuple[str, ...] | None:
    """The JSON form; whatever is not a list of strings is the shell form, as Docker has it."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(value) if all(isinstance(word, str) for word in value) else None
