"""The suite can fail: runtimes that are wrong in one thing are caught by the requirement for that thing."""

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance.judge import Judgement, Verdict, judge_one
from conformance.probe import find_probe
from conformance.requirements import REQUIREMENTS
from conformance.runtime import Runtime
from tests.conformance.mutant import CONFIG_FAULTS, NO_FAULT, VERB_FAULTS
from tests.conftest import program

TREE = Path(__file__).resolve().parents[2]
BY_NAME = {one.identifier: one for one in REQUIREMENTS}
# Each fault, and requirements that must not hold for a runtime that has it.
CAUGHT_BY = {
    "no-hostname": "namespaces/hostname",
    "no-domainname": "namespaces/domainname",
    "no-rlimits": "process/rlimits process/rlimits-known",
    "no-oom-score": "process/oom-score",
    "no-umask": "process/umask",
    "no-groups": "process/groups",
    "no-new-privileges-ignored": "process/no-new-privileges",
    "writable-root": "filesystem/readonly-root",
    "no-masks": "filesystem/masked",
    "no-readonly-paths": "filesystem/readonly-paths",
    "no-sysctl": "namespaces/sysctl",
    "no-seccomp": "seccomp/errno seccomp/kill seccomp-notify/state",
    "no-limits": "cgroups/pids devices/allowed",
    "no-devices": "devices/character devices/conflict",
    "no-propagation": "filesystem/propagation-unbindable",
    "no-time-offsets": "namespaces/time-boottime",
    "no-memory-policy": "scheduling/memory-bind",
    "no-scheduler": "scheduling/batch",
    "no-network-devices": "network-devices/moved network-devices/taken",
    "no-annotations": "lifecycle/annotations",
    "no-hooks": "hooks/create-runtime hooks/start-container hooks/create-container-failing",
    "no-poststop": "hooks/poststop hooks/poststop-failing",
    "no-cgroups-path": "cgroups/path",
    "no-console-size": "terminal/size",
    "shallow-readonly": "mount-options/rro",
    "nodev-ignored": "mount-options/nodev mount-options/effects",
    "shared-ipc": "namespaces/ipc-new",
    "shared-network": "namespaces/network-new",
    "reversed-mounts": "mounts/later-covers-earlier",
    "reversed-device-rules": "devices/order",
    "reversed-hooks": "hooks/create-runtime-order",
    "first-hook-only": "hooks/poststop-order",
    "unmapped-mounts": "mounts/idmap mounts/idmap-needs-both",
    "one-capability-more": "process/capabilities process/no-capabilities",
    "all-devices": "devices/denied",
    "new-for-joined": "namespaces/ipc-joined namespaces/ipc-wrong-type",
    "other-errno": "seccomp/errno",
    "wrong-status": "lifecycle/state-fields",
    "other-signal": "lifecycle/kill-specified",
    "always-forced": "lifecycle/delete-running",
    "no-errors": "lifecycle/unknown-id lifecycle/start-twice lifecycle/kill-stopped",
    "leftover-cgroup": "lifecycle/delete-frees",
    "starts-at-create": "lifecycle/create-does-not-start",
    "pid-with-newline": "verbs/pid-file",
    "ignored-pause": "verbs/pause",
    "ignored-update": "update/pids",
    "exec-as-root": "verbs/exec-options",
    "boasting": "features/defined features/namespaces features/no-specific-options",
}
EVERY_NAME = sorted({name for names in CAUGHT_BY.values() for name in names.split()})


def test_each_fault_is_caught_by_requirements_that_exist() -> None:
    assert CAUGHT_BY.keys() == CONFIG_FAULTS.keys() | VERB_FAULTS.keys()
    assert set(EVERY_NAME) <= BY_NAME.keys()


@pytest.fixture(scope="module")
def judgements() -> Iterator[dict[tuple[str, str], Judgement]]:
    """The verdicts on all the mutants, made several at a time; by name of the fault and of the requirement."""
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(6) as pool:
        probe = find_probe(directory)
        wanted = {**CAUGHT_BY, NO_FAULT: " ".join(EVERY_NAME)}
        runtimes = {fault: mutant(Path(directory), fault) for fault in wanted}
        futures = {
            (fault, name): pool.submit(judge_one, BY_NAME[name], runtimes[fault], probe)
            for fault, names in wanted.items()
            for name in names.split()
        }
        yield {key: future.result() for key, future in futures.items()}


def mutant(directory: Path, fault: str) -> Runtime:
    script = directory / fault
    words = [sys.executable, str(TREE / "tests/conformance/mutant.py"), fault, program("pyruntime")[0]]
    script.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
    script.chmod(0o755)
    return Runtime(fault, str(script), "mutant", "1")


@pytest.mark.privileged
@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_a_runtime_with_a_fault_is_caught(fault: str, judgements: dict[tuple[str, str], Judgement]) -> None:
    for name in CAUGHT_BY[fault].split():
        found = judgements[fault, name]
        if found.verdict is Verdict.UNAVAILABLE:
            pytest.skip(found.reason)
        assert found.verdict is Verdict.FAILED, name
        assert "the check itself failed" not in found.reason, found.reason


@pytest.mark.privileged
def test_what_catches_the_faults_lets_pass_who_has_none(judgements: dict[tuple[str, str], Judgement]) -> None:
    failed = {name: judgements[NO_FAULT, name].reason for name in EVERY_NAME}
    assert not {
        name: reason
        for name, reason in failed.items()
        if judgements[NO_FAULT, name].verdict not in (Verdict.PASSED, Verdict.UNAVAILABLE)
    }
