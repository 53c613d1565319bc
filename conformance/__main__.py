"""python -m conformance --runtime PATH [--only PATTERN] [--tap] [--junit FILE] [--html FILE] [--markdown FILE]"""

import argparse
import os
import shutil
import sys
import tempfile
from fnmatch import fnmatchcase

from conformance.judge import Judgement, Verdict, judge
from conformance.probe import build_probe
from conformance.report import Judgements
from conformance.report.junit import junit
from conformance.report.markdown import markdown
from conformance.report.page import page
from conformance.report.tap import tap
from conformance.requirements import REQUIREMENTS


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description="Judge OCI runtimes from the outside.")
    parser.add_argument("--runtime", action="append", required=True, help="a program; may be repeated")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="requirements by shell pattern: process/*"
    )
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="requirements tried at a time")
    parser.add_argument("--tap", action="store_true", help="print TAP instead of what failed")
    for name in ("junit", "html", "markdown"):
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write the report there as {name}")
    return parser.parse_args(arguments)


def judge_all(options: argparse.Namespace) -> dict[str, list[Judgement]]:
    """Each runtime's judgements, by the name of its program.

    Raises:
        RuntimeError: the probe cannot be built, nothing matches, or a runtime is not there.
    """
    chosen = [one for one in REQUIREMENTS if fnmatchcase(one.identifier, options.only)]
    if not chosen:
        raise RuntimeError(
            f"no requirement matches {options.only!r}; an example is {REQUIREMENTS[0].identifier}"
        )
    found = {}
    with tempfile.TemporaryDirectory(prefix="conformance-probe-") as directory:
        build_probe(f"{directory}/probe")
        for runtime in options.runtime:
            path = shutil.which(runtime)
            if path is None:
                raise RuntimeError(f"{runtime}: no such program")
            name = os.path.basename(path)
            found[name] = judge(chosen, os.path.abspath(path), name, f"{directory}/probe", options.at_once)
    return found


def summary(judgements: Judgements) -> str:
    """What failed and why, and the counts."""
    lines = []
    for runtime, judged in judgements.items():
        for one in judged:
            if one.verdict is Verdict.FAILED:
                what = one.requirement
                lines += [
                    f"{runtime} {what.identifier} ({what.level.value}): {what.sentence}",
                    f"    {one.reason}",
                ]
        counts = {verdict: sum(one.verdict is verdict for one in judged) for verdict in Verdict}
        lines.append(
            f"{runtime}: " + ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items())
        )
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> int:
    """0: nothing failed; 1: something did; 2: it could not be judged."""
    options = parse(arguments)
    if os.geteuid() != 0:
        print("conformance: making containers needs root", file=sys.stderr)
        return 2
    try:
        judgements = judge_all(options)
    except RuntimeError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    sys.stdout.write(tap(judgements) if options.tap else summary(judgements))
    for path, make in ((options.junit, junit), (options.html, page), (options.markdown, markdown)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(make(judgements))
    return int(any(one.verdict is Verdict.FAILED for judged in judgements.values() for one in judged))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
