"""The stages of a Dockerfile, and the arguments that stand before the first."""

from __future__ import annotations

from oci_image.value import Value
from typing import TYPE_CHECKING

from oci_image.build.variables import expand_word, split_words
from oci_image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oci_image.build.dockerfile import Dockerfile, Instruction
    from oci_image.model.platform import Platform


class Stage(Value):
    """One FROM with what follows it; `base` and `platform` have their variables put in."""

    number: int
    name: str
    base: str
    platform: str
    begin: Instruction
    instructions: tuple[Instruction, ...]


class Stages(Value):
    """All stages, and the values of arguments before the first FROM."""

    stages: tuple[Stage, ...]
    arguments: dict[str, str | None]

    def find(self, text: str, before: int | None = None) -> Stage | None:
        """The stage that a name or number means, of those before the stage `before`; the last of a name."""
        candidates = self.stages if before is None else self.stages[:before]
        for stage in reversed(candidates):
            if stage.name and stage.name == text.lower():
                return stage
        if text.isdecimal() and int(text) < len(candidates):
            return candidates[int(text)]
        return None


def platform_arguments(target: Platform, build: Platform) -> dict[str, str | None]:
    """The arguments that describe platforms."""
    found: dict[str, str | None] = {}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        normal = platform.normal()
        # Default variants are left out, as other builders do: linux/amd64, not linux/amd64/v1.
        variant = "" if normal.architecture in ("amd64", "arm64") else normal.variant
        parts = [normal.os, normal.architecture, variant]
        found[f"{prefix}PLATFORM"] = "/".join(part for part in parts if part)
        found |= {f"{prefix}OS": parts[0], f"{prefix}ARCH": parts[1], f"{prefix}VARIANT": variant}
    return found


def argument_pairs(
    instruction: Instruction, lookup: Mapping[str, str | None], escape: str
) -> list[tuple[str, str | None]]:
    """The names of an ARG with their defaults, None where there is none; each sees those before it."""
    seen = dict(lookup)
    pairs: list[tuple[str, str | None]] = []
    for word in split_words(instruction.text, escape):
        name, equals, value = word.partition("=")
        name = expand_word(name, seen.get, escape)
        if not name:
            raise ImageError("ARG names can not be blank")
        default = expand_word(value, seen.get, escape) if equals else None
        pairs.append((name, default))
        seen[name] = default
    return pairs


def split_stages(
    dockerfile: Dockerfile, given: Mapping[str, str], platforms: Mapping[str, str | None]
) -> Stages:
    """The stages; `given` are build arguments, `platforms` those that describe platforms.

    Raises: ImageError with file and line.
    """
    escape = dockerfile.directives.get("escape", "\\")
    arguments: dict[str, str | None] = {}
    found: list[tuple[Instruction, list[Instruction]]] = []
    stages: list[Stage] = []
    for instruction in dockerfile.instructions:
        if instruction.keyword == "FROM":
            found.append((instruction, []))
        elif found:
            found[-1][1].append(instruction)
        else:
            with_given = {**platforms, **arguments}
            for name, default in argument_pairs(instruction, with_given, escape):
                arguments[name] = given.get(name, default)
    for number, (begin, instructions) in enumerate(found):
        lookup = {**platforms, **arguments}
        try:
            stages.append(_stage(number, begin, instructions, lookup, escape))
        except ImageError as error:
            where = f"{dockerfile.name}:{begin.line}"
            raise ImageError(error.what, where=where, hint=error.hint) from None
    return Stages(tuple(stages), arguments)


def _stage(
    number: int, begin: Instruction, instructions: list[Instruction], lookup: Mapping[str, str | None], escape: str
) -> Stage:  # fmt: skip
    platform = ""
    for name, value in begin.flags:
        if name != "platform":
            raise ImageError(f"unknown flag: --{name}")
        platform = expand_word(value, lookup.get, escape)
    words = split_words(begin.text, escape)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise ImageError("FROM requires either one or three arguments", hint="write FROM IMAGE [AS NAME]")
    base = expand_word(words[0], lookup.get, escape)
    if not base:
        raise ImageError(
            f"base name ({words[0]}) should not be blank", hint="give the argument a default, or --build-arg"
        )
    name = words[2].lower() if len(words) == 3 else ""
    if name and (not name[0].isalpha() or not all(char.isalnum() or char in "-_." for char in name)):
        raise ImageError(f"invalid name for build stage: {words[2]!r}", hint="letters, digits, '-', '_', '.'")
    return Stage(number, name, base, platform, begin, tuple(instructions))
