"""The sentences of the specification that bind, and which requirement shows each, or why none can."""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

FILES = (
    "bundle.md",
    "config.md",
    "config-linux.md",
    "features.md",
    "features-linux.md",
    "runtime.md",
    "runtime-linux.md",
)
COVERAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "coverage.toml")
BINDING = re.compile(r"\b(MUST|SHOULD|SHALL|REQUIRED)\b")
ITEM = re.compile(r"^\s*([*-]|\d+\.|\[\^\d+\]:|>)\s+")
SENTENCE_END = re.compile(r"(?<=[.:;])\s+(?=[A-Z`*\[_])")
NO_END = re.compile(r"\b(e\.g|i\.e|etc)\.$")


@dataclass(frozen=True)
class Sentence:
    """A sentence with a word of RFC 2119 in it; `place` is file and heading: `config.md#root`."""

    place: str
    text: str


@dataclass(frozen=True)
class Covered:
    """What shows a sentence: identifiers of requirements, or the reason why a black box cannot."""

    sentence: Sentence
    shown_by: tuple[str, ...]
    why_not: str


def plain(text: str) -> str:
    """Without links and line breaks."""
    text = re.sub(r"\[(\^\d+)\]", "", text)
    text = re.sub(r"\[((?:[^\[\]]|\[\])+)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    return " ".join(text.replace("**", "").strip(" |").split())


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"<[^>]*>", "", heading.lstrip("#")).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def blocks(markdown: str) -> Iterator[tuple[str, str]]:
    """Anchor and text of each paragraph, item and row of a table; code is left out."""
    anchor, lines, fenced = "", [""], False
    for line in [*markdown.splitlines(), ""]:
        if line.strip().startswith("```"):
            fenced = not fenced
        heading = line.startswith("#") and not fenced
        begins = not line.strip() or heading or fenced or ITEM.match(line) or " | " in line
        if begins:
            if text := plain(" ".join(lines)):
                yield anchor, text
            lines = []
        if heading and not slug(line).startswith("example"):
            anchor = slug(line)
        elif heading:
            pass
        elif not fenced and not line.strip().startswith("```"):
            lines.append(ITEM.sub("", line, count=1))


def sentences_of(file: str, markdown: str) -> list[Sentence]:
    """The binding sentences of one file of the specification, in its order."""
    found = []
    for anchor, text in blocks(markdown):
        parts: list[str] = []
        for part in SENTENCE_END.split(text):
            if parts and NO_END.search(parts[-1]):
                parts[-1] += " " + part
            else:
                parts.append(part)
        found += [Sentence(f"{file}#{anchor}", part) for part in parts if BINDING.search(part)]
    return found


def headings_of(file: str, markdown: str) -> set[str]:
    return {f"{file}#{slug(line)}" for line in markdown.splitlines() if line.startswith("#")}


def load_coverage(path: str = COVERAGE) -> list[Covered]:
    """The list, in the order of the file."""
    with open(path, "rb") as file:
        entries = tomllib.load(file)["sentence"]
    return [
        Covered(
            Sentence(entry["place"], entry["text"]),
            tuple(entry.get("shown_by", ())),
            entry.get("why_not", ""),
        )
        for entry in entries
    ]
