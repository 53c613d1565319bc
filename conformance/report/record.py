"""A report as JSON, which another run can take up to show what its own host cannot."""

import json
from collections.abc import Mapping

from conformance.judge import Judgement, Verdict
from conformance.report import Report
from conformance.requirement import Requirement
from conformance.runtime import UnusableError


def record(report: Report) -> str:
    """Host, versions, and of each runtime the verdict and its reason by requirement."""
    results = {
        runtime: {one.requirement.identifier: [one.verdict.name, one.reason] for one in judged}
        for runtime, judged in report.judgements.items()
    }
    found = {"host": report.host, "versions": dict(report.versions), "results": results}
    return json.dumps(found, indent=1) + "\n"


def load_record(path: str, known: Mapping[str, Requirement]) -> Report:
    """The report in a file; requirements that this suite does not know are left out.

    Raises:
        UnusableError: the file is not there or is no report.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        judgements = {
            runtime: [
                Judgement(known[identifier], Verdict[verdict], reason)
                for identifier, (verdict, reason) in results.items()
                if identifier in known
            ]
            for runtime, results in found["results"].items()
        }
        return Report(found["host"], found["versions"], judgements)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableError(f"{path}: no report made by --json: {error!r}") from None
