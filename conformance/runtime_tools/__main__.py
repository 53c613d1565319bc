"""python -m conformance.runtime_tools: the OCI runtime-tools over one runtime, beside others."""

import argparse
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance.runtime_tools.programs import REASONS, VERSION, MissingError, install
from conformance.runtime_tools.run import Outcome, find, run_all, usable

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "runtime-tools"


def main() -> int:
    options = parse()
    try:
        programs = install(options.cache)
    except MissingError as error:
        sys.stderr.write(f"the OCI runtime-tools cannot be had: {error}\n")
        return 2
    if options.only:
        programs = [program for program in programs if options.only in program]
    results = judge(options.cache, programs, [options.runtime, *options.beside])
    text = table(results, programs)
    print(text)
    if options.markdown:
        Path(options.markdown).write_text(page(text))
    faults = judgement(results)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance.runtime_tools", description=__doc__)
    parser.add_argument("--runtime", required=True, help="the runtime to be judged")
    parser.add_argument(
        "--beside", action="append", default=[], metavar="RUNTIME", help="another, for comparison"
    )
    parser.add_argument("--only", metavar="TEXT", help="programs whose name contains this")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIRECTORY", help="where the programs are kept"
    )
    return parser.parse_args()


def judge(folder: Path, programs: list[str], runtimes: list[str]) -> dict[str, dict[str, Outcome]]:
    """What each program says of each runtime; runtimes that run nothing here are left out, but not the first."""
    with tempfile.TemporaryDirectory() as wrappers, ThreadPoolExecutor() as pool:
        chosen: dict[str, Path] = {}
        for number, name in enumerate(runtimes):
            path = find(name)
            found = usable(path, folder, Path(wrappers)) if number else path
            if found is None:
                sys.stderr.write(f"left out, because it runs no container here: {path}\n")
                continue
            chosen[path.name] = found
        futures = {name: pool.submit(run_all, folder, programs, path) for name, path in chosen.items()}
        return {name: future.result() for name, future in futures.items()}


def judgement(results: dict[str, dict[str, Outcome]]) -> list[str]:
    """What is wrong with the first runtime: not passed though others pass, or though nothing stands against it."""
    subject, *others = results
    faults = []
    for program, outcome in results[subject].items():
        if outcome.is_clean:
            continue
        better = [other for other in others if results[other][program].is_clean]
        if better:
            faults.append(
                f"{program}: {subject} {outcome}, but clean with {', '.join(better)}: {outcome.diagnostics}"
            )
        elif program not in REASONS:
            faults.append(f"{program}: {subject} {outcome}: {outcome.diagnostics}")
        else:
            most = max((results[other][program].held for other in others), default=0)
            if outcome.held < most and outcome.failed:
                faults.append(f"{program}: {subject} {outcome}, others up to {most}: {outcome.diagnostics}")
    return faults


def table(results: dict[str, dict[str, Outcome]], programs: list[str]) -> str:
    names = list(results)
    lines = [f"| program | {' | '.join(names)} | why not |", f"|---|{'---|' * len(names)}---|"]
    for program in programs:
        outcomes = [results[name][program] for name in names]
        cells = [f"**{outcome}**" if outcome.is_clean else str(outcome) for outcome in outcomes]
        reason = "" if outcomes[0].is_clean else REASONS.get(program, "")
        lines.append(f"| {program} | {' | '.join(cells)} | {reason} |")
    clean = [sum(outcome.is_clean for outcome in results[name].values()) for name in names]
    lines.append(f"| clean, of {len(programs)} | {' | '.join(map(str, clean))} | |")
    return "\n".join(lines)


def page(text: str) -> str:
    return (
        "# The OCI runtime-tools validation programs\n\n"
        f"Made by `python -m conformance.runtime_tools` with version `{VERSION}` on {platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}.\n"
        "Cells: assertions that held / failed / were skipped; bold is clean. crun gets configs whose version is\n"
        "rewritten to 1.0.2 where it knows no newer one.\n\n"
        f"{text}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
