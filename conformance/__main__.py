"""The command line: `python -m conformance --help` says all of it."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.host import host_line
from conformance.judge import Judgement, Verdict, judge
from conformance.known_lacks import is_known_lack
from conformance.probe import find_probe
from conformance.report import Report
from conformance.report.junit import junit
from conformance.report.markdown import markdown
from conformance.report.page import page
from conformance.report.record import load_record, record
from conformance.report.tap import tap
from conformance.requirement import Checked, Requirement
from conformance.requirements import REQUIREMENTS
from conformance.runtime import Runtime, UnusableError, find_runtimes
from conformance.runtime_tools.judgements import PROGRAMS, judge_programs

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "runtime-tools"
FAILED, UNUSABLE = 1, 2

HELP = """Judge OCI runtimes from the outside: each requirement of runtime-spec 1.3 for Linux, what callers of runc rely
on beyond it, and the programs of the OCI runtime-tools, on any program with runc's command line."""
EPILOG = """exit status:
  0  every requirement holds, or is a known fault of that runtime (conformance/known_faults.py)
  1  a requirement does not hold; with --strict also: it could not be shown, for a reason that nobody has argued
  2  nothing was judged: a wrong option, no such runtime, no root, no compiler

examples:
  python -m conformance --runtime runc
  python -m conformance --runtime ./pyruntime --runtime runc --runtime new=/opt/crun/bin/crun --markdown report.md
  python -m conformance --runtime crun --only 'hooks/*' --only process/umask --tap
  python -m conformance --list --only 'cgroups/*'
  python -m conformance --runtime runc --json other.json        (on a host with the other cgroup version, then here:)
  python -m conformance --runtime runc --with other.json --html report.html"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--runtime", action="append", default=[], metavar="[NAME=]PATH", help="a program; may be repeated")
    add("--only", action="append", metavar="PATTERN", help="requirements by shell pattern; may be repeated")
    add("--list", action="store_true", help="print the requirements that match, and judge nothing")
    add(
        "--systemd-cgroup",
        action="store_true",
        help="only the OCI runtime-tools, with this option before every verb",
    )
    add("--no-runtime-tools", action="store_true", help="leave out the OCI runtime-tools (they need Go once)")
    add("--at-once", type=int, default=8, metavar="N", help="requirements tried at a time (8)")
    add(
        "--strict",
        action="store_true",
        help="fail as well for what cannot be shown here without a known reason",
    )
    add("--tap", action="store_true", help="print TAP instead of what failed")
    add("--from", dest="made", metavar="FILE", help="judge nothing, and report what a --json says")
    add(
        "--with",
        action="append",
        default=[],
        dest="others",
        metavar="FILE",
        help="join in a --json of another host",
    )
    for name in ("junit", "html", "markdown", "json"):
        said = ", or - for standard output alone" if name == "json" else ""
        add(f"--{name}", metavar="FILE", help=f"write the report there as {name}{said}")
    options = parser.parse_args(arguments)
    if not (options.runtime or options.list or options.made):
        parser.error("give at least one --runtime PATH")
    return options


def chosen(identifier: str, options: argparse.Namespace) -> bool:
    return any(fnmatchcase(identifier, pattern) for pattern in options.only or ["*"])


def judge_all(
    requirements: Sequence[Checked],
    programs: Sequence[Requirement],
    runtimes: Sequence[Runtime],
    at_once: int,
) -> dict[str, list[Judgement]]:
    """Each runtime's judgements, by its name in the report.

    Raises:
        UnusableError: the probe cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-probe-") as directory:
        found = judge(requirements, runtimes, find_probe(directory), at_once)
    if programs:
        for name, judged in judge_programs(programs, runtimes, CACHE).items():
            found[name] += judged
    return found


def summary(report: Report) -> str:
    """What failed and why, and the counts."""
    lines = []
    for runtime, judged in report.judgements.items():
        for one in judged:
            if one.verdict is Verdict.FAILED:
                what = one.requirement
                lines.append(f"{runtime} {what.identifier} ({what.level.value}): {what.sentence}")
                lines += [f"    {line}" for line in (*one.reason.splitlines(), what.link) if line]
        counts = {verdict: sum(one.verdict is verdict for one in judged) for verdict in Verdict}
        told = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items())
        lines.append(f"{runtime} ({report.versions[runtime]}): {told}")
    return "\n".join([*lines, ""])


def unargued(report: Report) -> list[str]:
    """What could not be shown, for a reason that is not among the known ones."""
    return [
        f"{runtime} {one.requirement.identifier}: not shown, and nobody has argued why: {one.reason}"
        for runtime, judged in report.judgements.items()
        for one in judged
        if one.verdict is Verdict.UNAVAILABLE and not is_known_lack(one)
    ]


def write(options: argparse.Namespace, report: Report, others: Sequence[Report]) -> None:
    reports = [report, *others]
    made: dict[str | None, Callable[[], str]] = {
        options.junit: lambda: junit(report),
        options.html: lambda: page(reports),
        options.markdown: lambda: markdown(reports, driven_by_systemd=options.systemd_cgroup),
        options.json: lambda: record(report),
    }
    for path, make in made.items():
        if path == "-":
            sys.stdout.write(make())
        elif path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(make())


def judged(
    options: argparse.Namespace, requirements: Sequence[Checked], programs: Sequence[Requirement]
) -> Report:
    runtimes = find_runtimes(options.runtime, ("--systemd-cgroup",) if options.systemd_cgroup else ())
    if os.geteuid() != 0:
        raise UnusableError("making containers needs root")
    judgements = judge_all(requirements, programs, runtimes, options.at_once)
    return Report(host_line(), {one.name: f"{one.kind} {one.version}" for one in runtimes}, judgements)


def run(options: argparse.Namespace) -> int:
    requirements = [
        one for one in REQUIREMENTS if chosen(one.identifier, options) and not options.systemd_cgroup
    ]
    programs = [one for one in PROGRAMS if chosen(one.identifier, options) and not options.no_runtime_tools]
    if not requirements and not programs:
        raise UnusableError(f"no requirement matches {' '.join(options.only)}; --list prints all of them")
    if options.list:
        for one in (*requirements, *programs):
            print(f"{one.identifier}\t{one.level.value}\t{one.anchor}\t{one.sentence}")
        return 0
    known = {one.identifier: one for one in (*REQUIREMENTS, *PROGRAMS)}
    others = [load_record(path, known) for path in options.others]
    report = load_record(options.made, known) if options.made else judged(options, requirements, programs)
    if options.json != "-":
        sys.stdout.write(tap(report) if options.tap else summary(report))
    write(options, report, others)
    strange = unargued(report) if options.strict else []
    for line in strange:
        print(line, file=sys.stderr)
    failed = any(one.verdict is Verdict.FAILED for found in report.judgements.values() for one in found)
    return FAILED if failed or strange else 0


def main(arguments: Sequence[str]) -> int:
    try:
        return run(parse(arguments))
    except UnusableError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return UNUSABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
