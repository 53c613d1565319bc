"""The OCI runtime-tools: what passes with runc or crun on this machine passes with pyruntime."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.runtime_tools.__main__ import judgement, table
from conformance.runtime_tools.run import Outcome, read_outcome
from tests.conftest import program

TREE = Path(__file__).resolve().parents[2]
CLEAN = Outcome(3, 0, 1, 0, "")
FAILED = Outcome(2, 1, 0, 0, "because")


def test_an_output_is_counted_as_tap_says() -> None:
    output = "TAP version 13\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP no such thing\n# ok\nok\n1..4\n"
    assert read_outcome(output, " text\n", 1) == Outcome(2, 1, 1, 1, "text")
    assert not Outcome(0, 0, 0, 0, "").is_clean
    assert not Outcome(1, 0, 0, 1, "").is_clean
    assert CLEAN.is_clean


def test_what_others_pass_must_be_passed() -> None:
    assert judgement({"a": {"state": CLEAN}, "b": {"state": FAILED}}) == []
    assert "clean with b" in judgement({"a": {"state": FAILED}, "b": {"state": CLEAN}})[0]
    assert "because" in judgement({"a": {"state": FAILED}, "b": {"state": FAILED}})[0]
    # Known to fail everywhere: allowed, but not to fail more than others do.
    assert judgement({"a": {"start": FAILED}, "b": {"start": FAILED}}) == []
    assert judgement({"a": {"start": FAILED}, "b": {"start": Outcome(6, 1, 0, 0, "")}})
    assert judgement({"a": {"start": FAILED}, "b": {"start": CLEAN}})
    assert "| state | **3/0/1** | 2/1/0 |" in table(
        {"a": {"state": CLEAN}, "b": {"state": FAILED}}, ["state"]
    )


@pytest.mark.privileged
@pytest.mark.slow
def test_pyruntime_passes_what_runc_or_crun_pass() -> None:
    command = [sys.executable, "-m", "conformance.runtime_tools", "--runtime", program("pyruntime")[0]]
    for other in ("runc", "crun"):
        if shutil.which(other):
            command += ["--beside", other]
    result = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "| clean, of 58 |" in result.stdout
