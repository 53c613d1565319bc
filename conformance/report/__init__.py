"""Judgements as text for people and for machines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conformance.judge import Judgement, Verdict
from conformance.requirement import Requirement

Judgements = Mapping[str, Sequence[Judgement]]  # by name of the runtime, in the order of the requirements


@dataclass(frozen=True)
class Report:
    """The judgements made on one host; `versions` are by name of the runtime: `runc 1.1.5`."""

    host: str
    versions: Mapping[str, str]
    judgements: Judgements


@dataclass(frozen=True)
class Cell:
    """What the hosts show of one requirement and runtime: number of the host from 1, and its judgement."""

    shown: Sequence[tuple[int, Judgement]]

    @property
    def telling(self) -> Sequence[tuple[int, Judgement]]:
        """Those of hosts that can show it; all of them if none can, and the first only where all agree."""
        found = [pair for pair in self.shown if pair[1].verdict is not Verdict.UNAVAILABLE] or self.shown
        return found if len({one.verdict for _, one in found}) > 1 else found[:1]

    @property
    def holds(self) -> bool:
        return all(one.verdict is Verdict.PASSED for _, one in self.telling)


def rows(reports: Sequence[Report]) -> Iterator[tuple[Requirement, list[Cell]]]:
    """The requirements of the first report, and of each of its runtimes what all the hosts show."""
    found: dict[tuple[str, str], list[tuple[int, Judgement]]] = {}
    for number, report in enumerate(reports, 1):
        for runtime, judged in report.judgements.items():
            for one in judged:
                found.setdefault((runtime, one.requirement.identifier), []).append((number, one))
    runtimes = list(reports[0].judgements)
    for judged in zip(*reports[0].judgements.values(), strict=True):
        requirement = judged[0].requirement
        yield requirement, [Cell(found[runtime, requirement.identifier]) for runtime in runtimes]


def hosts_line(reports: Sequence[Report]) -> list[str]:
    """One line a host, numbered where there are several, with the versions that were judged there."""
    lines = []
    for number, report in enumerate(reports, 1):
        label = f"{number}: " if len(reports) > 1 else ""
        lines.append(f"{label}{report.host}; {', '.join(report.versions.values())}")
    return lines
