"""The programs as requirements, and what they say as verdicts."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from conformance.judge import Judgement, Verdict
from conformance.known_faults import known_fault
from conformance.requirement import Level, Requirement
from conformance.runtime import Runtime
from conformance.runtime_tools.programs import BROKEN, NAMES, REASONS, MissingError, install
from conformance.runtime_tools.run import Outcome, Program, run_program, usable

PREFIX = "runtime-tools/"
PROGRAMS = tuple(
    Requirement(f"{PREFIX}{name}", Level.TOOLS, name, f"The OCI's program `{name}` finds nothing wrong.")
    for name in NAMES
)
AT_ONCE = 4  # each of them starts several containers, and some watch the clock


def judge_programs(
    programs: Sequence[Requirement], runtimes: Sequence[Runtime], folder: Path
) -> dict[str, list[Judgement]]:
    """What each program says of each runtime; nothing, with a line on standard error, where they cannot be had."""
    try:
        install(folder, download=False)
    except MissingError as error:
        print(f"conformance: the OCI runtime-tools are left out: {error}", file=sys.stderr)
        return {}
    names = [one.anchor for one in programs]
    with tempfile.TemporaryDirectory() as wrappers:
        outcomes = run_programs(names, runtimes, folder, Path(wrappers))
    return {
        runtime.name: [judgement(one, runtime, outcomes) for one in programs]
        for runtime in runtimes
        if runtime.name in outcomes
    }


def run_programs(
    names: Sequence[str], runtimes: Sequence[Runtime], folder: Path, wrappers: Path
) -> dict[str, dict[str, Outcome]]:
    """Outcomes by name of the runtime and of the program, several at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        paths = pool.map(lambda one: usable(one, folder, wrappers), runtimes)
        chosen = dict(zip((one.name for one in runtimes), paths, strict=True))
        futures: dict[tuple[str, str], Future[Outcome]] = {
            (runtime, name): pool.submit(run_patiently, folder, name, path)
            for name in names
            for runtime, path in chosen.items()
        }
        return {runtime: {name: futures[runtime, name].result() for name in names} for runtime in chosen}


def run_patiently(folder: Path, name: str, runtime: Program) -> Outcome:
    """Run a program that can be passed until it is, thrice at most: several of them watch the clock."""
    for _ in range(1 if name in REASONS else 3):
        outcome = run_program(folder, name, runtime)
        if outcome.is_clean:
            break
    return outcome


def judgement(
    requirement: Requirement, runtime: Runtime, outcomes: Mapping[str, Mapping[str, Outcome]]
) -> Judgement:
    """A program that nobody can pass shows nothing, unless more of it holds for another runtime."""
    name = requirement.anchor
    outcome = outcomes[runtime.name][name]
    if outcome.is_clean:
        return Judgement(requirement, Verdict.PASSED)
    most = max(found[name].held for found in outcomes.values())
    broken = REASONS.get(name, "").startswith(BROKEN)
    if name in REASONS and (broken or outcome.held >= most or not outcome.failed + outcome.code):
        return Judgement(requirement, Verdict.UNAVAILABLE, f"{REASONS[name]} ({outcome})")
    seen = f"{outcome}: {outcome.diagnostics}"
    if known := known_fault(runtime.kind, requirement.identifier):
        return Judgement(requirement, Verdict.KNOWN, f"{known} [{seen}]")
    return Judgement(requirement, Verdict.FAILED, f"assertions held/failed/skipped {seen}")
