"""Runs requirements on runtimes and gives each a verdict."""

import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from conformance.bench import Bench
from conformance.expect import BrokenError, UnavailableError
from conformance.known_faults import known_fault
from conformance.requirement import Checked, Requirement
from conformance.runtime import Runtime


class Verdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    KNOWN = "known fault"
    UNAVAILABLE = "not shown here"


@dataclass(frozen=True)
class Judgement:
    """The verdict on one requirement; `reason` says what was seen, or which fault is known, or what is lacking."""

    requirement: Requirement
    verdict: Verdict
    reason: str = ""


def judge_one(requirement: Checked, runtime: Runtime, probe: str) -> Judgement:
    """Try one requirement; a fault of the check itself counts as a failure, with its traceback."""
    try:
        with Bench(runtime.path, probe) as bench:
            requirement.check(bench)
    except UnavailableError as lacking:
        return Judgement(requirement, Verdict.UNAVAILABLE, str(lacking))
    except BrokenError as broken:
        reason = str(broken)
    except Exception:
        reason = "the check itself failed:\n" + traceback.format_exc(limit=-3)
    else:
        return Judgement(requirement, Verdict.PASSED)
    if known := known_fault(runtime.kind, requirement.identifier):
        return Judgement(requirement, Verdict.KNOWN, f"{known} [{reason}]")
    return Judgement(requirement, Verdict.FAILED, reason)


def judge(
    requirements: Sequence[Checked], runtimes: Sequence[Runtime], probe: str, at_once: int
) -> dict[str, list[Judgement]]:
    """Try all of them on each runtime, `at_once` of the pairs at a time; the order is that of the requirements.

    The pairs are mixed, so that the slowest runtime does not run alone at the end.
    """
    pairs = [(requirement, runtime) for requirement in requirements for runtime in runtimes]
    found: dict[str, list[Judgement]] = {runtime.name: [] for runtime in runtimes}
    with ThreadPoolExecutor(at_once) as pool:
        judgements = list(pool.map(lambda pair: judge_one(pair[0], pair[1], probe), pairs))
    for (requirement, runtime), judgement in zip(pairs, judgements, strict=True):
        # On a crowded machine a check may run out of time; alone it does not.  A fault shows both times.
        again = judgement.verdict is Verdict.FAILED
        found[runtime.name].append(judge_one(requirement, runtime, probe) if again else judgement)
    return found
