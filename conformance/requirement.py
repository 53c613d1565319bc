"""What is required: sentences of the specification, each with the function that looks whether it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from conformance.bench import Bench

SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/"
PROGRAMS = "https://github.com/opencontainers/runtime-tools/tree/master/validation/"
Check = Callable[[Bench], None]


class Level(Enum):
    """How binding a sentence is.

    `CALLERS` is not the specification's but what every caller of runc relies on; `TOOLS` is one of the programs of
    the OCI runtime-tools.
    """

    MUST = "MUST"
    SHOULD = "SHOULD"
    CALLERS = "callers"
    TOOLS = "runtime-tools"


@dataclass(frozen=True)
class Requirement:
    """One sentence: `anchor` is the file and heading of the specification, empty for `Level.CALLERS`."""

    identifier: str
    level: Level
    anchor: str
    sentence: str

    @property
    def link(self) -> str:
        if not self.anchor:
            return ""
        return (PROGRAMS if self.level is Level.TOOLS else SPECIFICATION) + self.anchor


@dataclass(frozen=True)
class Checked(Requirement):
    """A requirement with the function that tries it on a bench."""

    check: Check


class Subject:
    """The requirements of one subject, in the order of their file; the name begins each identifier."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requirements: list[Checked] = []

    def must(self, identifier: str, anchor: str, sentence: str) -> Callable[[Check], Check]:
        return self._adder(Level.MUST, identifier, anchor, sentence)

    def should(self, identifier: str, anchor: str, sentence: str) -> Callable[[Check], Check]:
        return self._adder(Level.SHOULD, identifier, anchor, sentence)

    def callers(self, identifier: str, sentence: str) -> Callable[[Check], Check]:
        return self._adder(Level.CALLERS, identifier, "", sentence)

    def _adder(self, level: Level, identifier: str, anchor: str, sentence: str) -> Callable[[Check], Check]:
        def add(check: Check) -> Check:
            whole = f"{self.name}/{identifier}"
            self.requirements.append(Checked(whole, level, anchor, sentence, check))
            return check

        return add
