"""A Markdown table, requirement by runtime."""

from collections.abc import Sequence

from conformance.judge import Verdict
from conformance.report import Cell, Report, hosts_line, rows

SIGNS = {Verdict.PASSED: "✓", Verdict.FAILED: "**✗**", Verdict.KNOWN: "✗", Verdict.UNAVAILABLE: "?"}
HEAD = """# Conformance to runtime-spec 1.3

Made by `python -m conformance --markdown FILE --runtime ...`; do not edit. Each row is a sentence of the
specification, what every caller of runc relies on, or a program of the OCI runtime-tools, and how the runtimes fared:
✓ holds, ✗ does not hold (known and argued in `conformance/known_faults.py`), **✗** does not hold, ? cannot be shown
on any of these hosts. Where hosts differ, the sign follows the number of the host. Which requirement stands for which
sentence, and why some have none, is in [coverage.toml](../conformance/specification/coverage.toml).
"""

HEAD_OF_SYSTEMD = """# The OCI runtime-tools with the systemd driver

Made by `scripts/conformance-report`; do not edit. The programs of the OCI runtime-tools with `--systemd-cgroup`, each
without a pid namespace of its own, because systemd has to be told process ids that it knows. ✓ holds, ✗ does not hold
(known and argued in `conformance/known_faults.py`), **✗** does not hold, ? cannot be shown here, for a reason that
`conformance/runtime_tools/programs.py` argues: the programs of cgroups know the files of cgroup v1 and paths of the
file system only, and several have faults of their own.
"""


def sign(cell: Cell) -> str:
    told = cell.telling
    if len(told) == 1:
        return SIGNS[told[0][1].verdict]
    return ", ".join(f"{number} {SIGNS[one.verdict]}" for number, one in told)


def markdown(reports: Sequence[Report], *, driven_by_systemd: bool = False) -> str:
    """The page; every runtime was judged by the same requirements."""
    runtimes = list(reports[0].judgements)
    lines = [f"| Requirement | Level | {' | '.join(runtimes)} |", "|---|---|" + "---|" * len(runtimes)]
    held = dict.fromkeys(runtimes, 0)
    count = 0
    for requirement, cells in rows(reports):
        count += 1
        level = requirement.level.value
        shown = f"[{level}]({requirement.link})" if requirement.link else level
        lines.append(
            f"| `{requirement.identifier}`: {requirement.sentence} | {shown} | {' | '.join(map(sign, cells))} |"
        )
        for runtime, cell in zip(runtimes, cells, strict=True):
            held[runtime] += cell.holds
    lines.append(f"| **holds, of {count}** | | {' | '.join(map(str, held.values()))} |")
    hosts = [f"- host {line}" for line in hosts_line(reports)]
    head = HEAD_OF_SYSTEMD if driven_by_systemd else HEAD
    return "\n".join([head, *hosts, "", *lines, ""])
