"""The Test Anything Protocol, version 13."""

from conformance.judge import Verdict
from conformance.report import Report

ENDINGS = {Verdict.UNAVAILABLE: " # SKIP {}", Verdict.KNOWN: " # TODO {}"}


def tap(report: Report) -> str:
    """One line a requirement and runtime; what was seen stands below a failure."""
    lines = ["TAP version 13", f"# {report.host}"]
    number = 0
    for runtime, judged in report.judgements.items():
        for one in judged:
            number += 1
            good = one.verdict in (Verdict.PASSED, Verdict.UNAVAILABLE)
            ending = ENDINGS.get(one.verdict, "").format(one.reason.replace("\n", " "))
            lines.append(
                f"{'ok' if good else 'not ok'} {number} - {runtime} {one.requirement.identifier}{ending}"
            )
            if one.verdict is Verdict.FAILED:
                shown = (one.requirement.level.value + ": " + one.requirement.sentence, one.requirement.link)
                lines += [f"# {line}" for line in (*shown, *one.reason.splitlines()) if line]
    return "\n".join([*lines, f"1..{number}", ""])
