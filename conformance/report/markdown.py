"""A Markdown table, requirement by runtime."""

from conformance.judge import Verdict
from conformance.report import Judgements

SIGNS = {Verdict.PASSED: "✓", Verdict.FAILED: "**✗**", Verdict.KNOWN: "✗", Verdict.UNAVAILABLE: "?"}
HEAD = """# Conformance

Made by `python -m conformance --markdown docs/conformance.md --runtime ...`; do not edit. Each row is one sentence
of the specification, or of what every caller of runc relies on, and how the runtimes fared: ✓ holds, ✗ does not hold
(known and argued in `conformance/known_faults.py`), **✗** does not hold, ? cannot be shown on this machine.
"""


def markdown(judgements: Judgements) -> str:
    """The page; every runtime was judged by the same requirements."""
    runtimes = list(judgements)
    rows = zip(*judgements.values(), strict=True)
    lines = [f"| Requirement | Level | {' | '.join(runtimes)} |", "|---|---|" + "---|" * len(runtimes)]
    for row in rows:
        one = row[0].requirement
        level = f"[{one.level.value}]({one.link})" if one.link else one.level.value
        signs = " | ".join(SIGNS[judged.verdict] for judged in row)
        lines.append(f"| `{one.identifier}`: {one.sentence} | {level} | {signs} |")
    counts = [
        f"{sum(one.verdict is Verdict.PASSED for one in judged)} of {len(judged)}"
        for judged in judgements.values()
    ]
    lines.append(f"| **holds** | | {' | '.join(counts)} |")
    return "\n".join([HEAD, *lines, ""])
