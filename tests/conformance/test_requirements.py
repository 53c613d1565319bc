"""The suite of requirements: it judges pyruntime, and runc and crun judge the suite."""

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from conformance.bundle import changed
from conformance.judge import Judgement, Verdict
from conformance.known_faults import ARGUED, KNOWN_FAULTS
from conformance.report.junit import junit
from conformance.report.markdown import markdown
from conformance.report.page import page
from conformance.report.tap import tap
from conformance.requirements import REQUIREMENTS
from tests.conftest import program

TREE = Path(__file__).resolve().parents[2]
IDENTIFIERS = {one.identifier for one in REQUIREMENTS}


def test_every_requirement_has_its_own_name() -> None:
    assert not [name for name, count in Counter(one.identifier for one in REQUIREMENTS).items() if count > 1]


def test_known_faults_and_arguments_are_of_requirements_that_exist() -> None:
    assert set(ARGUED) <= IDENTIFIERS
    for faults in KNOWN_FAULTS.values():
        assert set(faults) <= IDENTIFIERS


def test_what_runc_and_crun_both_miss_is_argued() -> None:
    assert KNOWN_FAULTS["runc"].keys() & KNOWN_FAULTS["crun"].keys() <= ARGUED.keys()


def test_a_change_makes_appends_and_removes() -> None:
    config = {"a": {"b": [1]}, "c": 2}
    assert changed(config, {"/a/b/-": 3, "/d/e": 4}) == {"a": {"b": [1, 3]}, "c": 2, "d": {"e": 4}}
    assert config == {"a": {"b": [1]}, "c": 2}


def test_each_report_shows_what_was_seen() -> None:
    failed = {"some": [Judgement(REQUIREMENTS[0], Verdict.FAILED, "saw <this>\x00")]}
    assert "not ok 1 - some " + REQUIREMENTS[0].identifier in tap(failed)
    assert "# saw <this>" in tap(failed)
    assert "**✗**" in markdown(failed)
    assert "saw &lt;this&gt;" in page(failed)
    failure = ET.fromstring(junit(failed)).find("./testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "saw <this>"


@pytest.mark.privileged
@pytest.mark.slow
def test_pyruntime_conforms_and_runc_and_crun_show_nothing_new(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    command = [
        sys.executable,
        "-m",
        "conformance",
        "--junit",
        str(report),
        "--runtime",
        program("pyruntime")[0],
    ]
    for other in ("runc", "crun"):
        if shutil.which(other):
            command += ["--runtime", other]
    result = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    suite = ET.parse(report).getroot().find("./testsuite[@name='pyruntime']")
    assert suite is not None
    assert suite.get("tests") == str(len(REQUIREMENTS))
