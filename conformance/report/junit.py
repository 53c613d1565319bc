"""JUnit's XML, as continuous integration reads it."""

import xml.etree.ElementTree as ET

from conformance.judge import Verdict
from conformance.report import Report


def junit(report: Report) -> str:
    """One suite a runtime; known faults count as skipped."""
    root = ET.Element("testsuites")
    for runtime, judged in report.judgements.items():
        verdicts = [one.verdict for one in judged]
        failures = verdicts.count(Verdict.FAILED)
        skipped = len(verdicts) - failures - verdicts.count(Verdict.PASSED)
        counts = {"tests": len(judged), "failures": failures, "skipped": skipped}
        named = {"name": runtime, "hostname": report.host}
        suite = ET.SubElement(
            root, "testsuite", {**named, **{key: str(count) for key, count in counts.items()}}
        )
        for one in judged:
            subject, _, name = one.requirement.identifier.partition("/")
            case = ET.SubElement(suite, "testcase", classname=subject, name=name)
            if one.verdict is not Verdict.PASSED:
                kind = "failure" if one.verdict is Verdict.FAILED else "skipped"
                ET.SubElement(case, kind, message=printable(one.reason))
    return ET.tostring(root, encoding="unicode") + "\n"


def printable(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
