"""The programs of the OCI runtime-tools as requirements: what their output means."""

import subprocess
import sys
from pathlib import Path

import pytest

from conformance.__main__ import CACHE
from conformance.host import is_unified
from conformance.judge import Verdict
from conformance.runtime import Runtime
from conformance.runtime_tools.judgements import PROGRAMS, judgement
from conformance.runtime_tools.programs import NAMES, REASONS, install
from conformance.runtime_tools.run import Outcome, read_outcome
from tests.conftest import program

CLEAN = Outcome(3, 0, 1, 0, "")
FAILED = Outcome(2, 1, 0, 0, "because")
A, B = (Runtime(name, f"/{name}", name, "1") for name in "ab")
BY_NAME = {one.anchor: one for one in PROGRAMS}


def test_an_output_is_counted_as_tap_says() -> None:
    output = "TAP version 13\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP no such thing\n# ok\nok\n1..4\n"
    assert read_outcome(output, " text\n", 1) == Outcome(2, 1, 1, 1, "text")
    assert not Outcome(0, 0, 0, 0, "").is_clean
    assert not Outcome(1, 0, 0, 1, "").is_clean
    assert CLEAN.is_clean


def test_what_can_be_passed_must_be_passed() -> None:
    found = {"a": {"state": FAILED}, "b": {"state": CLEAN}}
    assert judgement(BY_NAME["state"], A, found).verdict is Verdict.FAILED
    assert "because" in judgement(BY_NAME["state"], A, found).reason
    assert judgement(BY_NAME["state"], B, found).verdict is Verdict.PASSED


def test_what_nobody_can_pass_shows_nothing_unless_others_get_further() -> None:
    found = {"a": {"start": FAILED}, "b": {"start": FAILED}}
    assert judgement(BY_NAME["start"], A, found).verdict is Verdict.UNAVAILABLE
    found["b"]["start"] = Outcome(6, 1, 0, 0, "")
    assert judgement(BY_NAME["start"], A, found).verdict is Verdict.FAILED
    assert judgement(BY_NAME["start"], B, found).verdict is Verdict.UNAVAILABLE


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--systemd-cgroup"]], ids=["cgroupfs", "systemd"])
def test_every_program_that_can_be_passed_is_passed_under_systemd_and_cgroup_v2(options: list[str]) -> None:
    if not Path("/run/systemd/system").is_dir():
        pytest.skip("systemd is not the init")
    if not is_unified():
        pytest.skip("cgroup v1: the suite of requirements has the programs there")
    install(CACHE, download=True)
    command = [sys.executable, "-m", "conformance", *options, "--runtime", program("pyruntime")[0]]
    command += [f"--only={one.identifier}" for one in PROGRAMS if one.anchor not in REASONS]
    result = subprocess.run(command, cwd=CACHE.parents[1], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-9000:] + result.stderr[-2000:]
    passed = sum(name not in REASONS for name in NAMES)
    assert f": {passed} passed, 0 failed" in result.stdout


@pytest.mark.privileged
@pytest.mark.slow
def test_the_programs_are_those_of_the_module() -> None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("cgroup v1 host installs the programs; a virtual machine has no network")
    assert tuple(install(CACHE, download=True)) == NAMES
