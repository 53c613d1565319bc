"""`validate` names every fault once, at its place in the document as it was written; `doctor` says what is there."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyruntime.cli.main import main
from pyruntime.spec.default import default_config
from pyruntime.verbs.validate import find_faults
from tests.config_cases import changed

BASE: dict[str, Any] = json.loads(json.dumps(default_config(rootless=False, uid=0, gid=0)))


def places(document: Any) -> dict[str, str]:
    faults = find_faults(json.dumps(document).encode(), "/nowhere", ask_host=False)
    assert len({fault.where for fault in faults}) == len(faults)
    return {fault.where: f"{fault.kind}: {fault.what}" for fault in faults}


def test_a_right_config_has_no_fault() -> None:
    assert places(BASE) == {}


def test_faults_of_every_kind_are_found_together() -> None:
    document = copy.deepcopy(BASE)
    for pointer, value in {
        "/process/terminal": "yes",
        "/process/cwd": "here",
        "/process/env/0": "novalue",
        "/mounts/1/destination": "/",
        "/linux/personality": {"domain": "PLAN9"},
        "/mounts/4": {"destination": "/x", "type": "bind", "source": "/"},
        "/linux/seccomp": {"defaultAction": "SCMP_ACT_DANCE"},
        "/linux/sysctl": {"vm.swappiness": "1"},
    }.items():
        document = changed(document, {"at": pointer, "value": value})
    document["process"]["rlimits"].append(dict(document["process"]["rlimits"][0]))
    found = places(document)
    assert set(found) == {
        "/process/terminal", "/process/cwd", "/process/env/0", "/mounts/1/destination",
        "/mounts/4/options", "/linux/seccomp/defaultAction", "/linux/personality/domain",
        "/linux/sysctl/vm.swappiness", "/process/rlimits/1/type",
    }  # fmt: skip
    assert found["/process/terminal"].startswith("form")
    assert found["/process/cwd"].startswith("rule")


@pytest.mark.parametrize("version", ["2.0.0", "newest"])
def test_a_wrong_version_hides_no_other_fault(version: str) -> None:
    document = changed(BASE, {"at": "/ociVersion", "value": version})
    assert set(places({**document, "hostname": "x" * 65})) == {"/ociVersion", "/hostname"}


def test_places_in_a_list_are_those_of_the_original() -> None:
    document = copy.deepcopy(BASE)
    document["process"]["env"] = ["A=1", "bad", "B=2", "worse", "worst"]
    assert set(places(document)) == {"/process/env/1", "/process/env/3", "/process/env/4"}


@pytest.mark.parametrize("text", [b"{", b"[]", b"3", b"{}"])
def test_what_is_no_config_is_said_to_be_none(text: bytes) -> None:
    (first, *_) = find_faults(text, "/nowhere")
    assert first.kind == "form"


def test_the_host_is_asked_for_what_the_config_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = copy.deepcopy(BASE)
    document["mounts"].append({"destination": "/x", "source": str(tmp_path / "no"), "options": ["bind"]})
    document["mounts"].append({"destination": "/y", "source": "y", "type": "nofs"})
    document["hooks"] = {"prestart": [{"path": str(tmp_path / "hook")}]}
    document["linux"]["namespaces"][0]["path"] = str(tmp_path / "ns")
    (tmp_path / "config.json").write_text(json.dumps(document))
    assert main(["validate", "--format", "json", str(tmp_path)]) == 1
    faults = {fault["where"]: fault for fault in json.loads(capfd.readouterr().out)}
    count = len(BASE["mounts"])
    expected = {
        "/root/path",
        f"/mounts/{count}/source",
        f"/mounts/{count + 1}/type",
        "/hooks/prestart/0/path",
    }
    assert expected | {"/linux/namespaces/0/path"} <= set(faults)
    assert {faults[where]["kind"] for where in expected} == {"host"}
    assert all(fault["hint"] for fault in faults.values())

    assert main(["validate", "--no-host", str(tmp_path)]) == 0
    assert capfd.readouterr().out == "valid\n"


def test_the_doctor_reports_what_it_sees(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--format", "json"]) == 0
    rows = {row["subject"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows["kernel"]["found"].startswith(os.uname().release)
    for name in (
        "cgroups",
        "user namespaces",
        "seccomp actions",
        "libseccomp",
        "newuidmap",
        "criu",
        "resctrl",
    ):
        assert rows[name]["found"]
    program = shutil.which("criu", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is not None and os.geteuid() == 0:
        works = subprocess.run([program, "check"], capture_output=True, check=False).returncode == 0
        assert ("does not work" in rows["criu"]["remark"]) == (not works)
    assert main(["doctor"]) == 0
    assert capfd.readouterr().out.startswith("kernel ")
