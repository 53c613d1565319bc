"""What is required: sentences of the specification, each with the function that looks whether it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from conformance.bench import Bench

SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/"
Check = Callable[[Bench], None]


class Level(Enum):
    """How binding a sentence is; `CALLERS` is not the specification's but what every caller of runc relies on."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    CALLERS = "callers"


@dataclass(frozen=True)
class Requirement:
    """One sentence: `anchor` is the file and heading of the specification, empty for `Level.CALLERS`."""

    identifier: str
    level: Level
    anchor: str
    sentence: str
    check: Check

    @property
    def link(self) -> str:
        return SPECIFICATION + self.anchor if self.anchor else ""


class Subject:
    """The requirements of one subject, in the order of their file; the name begins each identifier."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requirements: list[Requirement] = []

    def must(self, identifier: str, anchor: str, sentence: str) -> Callable[[Check], Check]:
        return self._adder(Level.MUST, identifier, anchor, sentence)

    def should(self, identifier: str, anchor: str, sentence: str) -> Callable[[Check], Check]:
        return self._adder(Level.SHOULD, identifier, anchor, sentence)

    def callers(self, identifier: str, sentence: str) -> Callable[[Check], Check]:
        return self._adder(Level.CALLERS, identifier, "", sentence)

    def _adder(self, level: Level, identifier: str, anchor: str, sentence: str) -> Callable[[Check], Check]:
        def add(check: Check) -> Check:
            whole = f"{self.name}/{identifier}"
            self.requirements.append(Requirement(whole, level, anchor, sentence, check))
            return check

        return add
