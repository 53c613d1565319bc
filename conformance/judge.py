"""Runs requirements on a runtime and gives each a verdict."""

import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from conformance.bench import Bench
from conformance.expect import BrokenError, UnavailableError
from conformance.known_faults import known_fault
from conformance.requirement import Requirement


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


def judge_one(requirement: Requirement, runtime: str, name: str, probe: str) -> Judgement:
    """Try one requirement; a fault of the check itself counts as a failure, with its traceback."""
    try:
        with Bench(runtime, probe) as bench:
            requirement.check(bench)
    except UnavailableError as lacking:
        return Judgement(requirement, Verdict.UNAVAILABLE, str(lacking))
    except BrokenError as broken:
        reason = str(broken)
    except Exception:
        reason = "the check itself failed:\n" + traceback.format_exc(limit=-3)
    else:
        return Judgement(requirement, Verdict.PASSED)
    if known := known_fault(name, requirement.identifier):
        return Judgement(requirement, Verdict.KNOWN, f"{known} [{reason}]")
    return Judgement(requirement, Verdict.FAILED, reason)


def judge(
    requirements: Sequence[Requirement], runtime: str, name: str, probe: str, at_once: int = 4
) -> list[Judgement]:
    """Try all of them, several at once; the judgements are in the order of the requirements.

    `name` is the runtime's in the list of known faults, `probe` the compiled probe.
    """
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda one: judge_one(one, runtime, name, probe), requirements))
