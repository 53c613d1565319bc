"""Errors are written so that engines can read them."""

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from pyruntime.base.errors import SpecError, StateError
from pyruntime.cli.log import Log, format_error, json_line, text_line


def test_an_error_names_verb_container_and_place() -> None:
    error = SpecError("unknown mount option", where="/mounts/2/options/0")
    assert format_error("create", "c1", error) == "create c1: unknown mount option (/mounts/2/options/0)"


def test_the_id_is_not_said_twice() -> None:
    assert format_error("state", "c1", StateError("container does not exist", where="c1")) == (
        "state c1: container does not exist"
    )


def test_without_a_container_the_verb_stands_alone() -> None:
    assert format_error("list", "", StateError("x")) == "list: x"


def test_a_json_line_is_one_object_with_a_time_in_rfc_3339() -> None:
    entry = json.loads(json_line("error", 'bad "thing"\nhere', "fix it"))
    assert entry["level"] == "error"
    assert entry["msg"] == 'bad "thing"\nhere'
    assert entry["hint"] == "fix it"
    assert entry["time"].endswith("Z")
    assert datetime.fromisoformat(entry["time"]).tzinfo is not None


def test_a_json_line_without_a_hint_has_the_three_keys_of_runc_only() -> None:
    assert list(json.loads(json_line("error", "x"))) == ["level", "msg", "time"]


def test_a_text_line_is_runcs() -> None:
    line = text_line("error", 'no "x"')
    assert line.startswith('time="')
    assert line.endswith('Z" level=error msg="no \\"x\\""\n')


def test_an_error_goes_to_the_log_file_and_as_bare_text_to_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.json"
    path.write_text("before\n")
    Log(path=str(path), json=True).error("create c1: no", "pyruntime create failed: c1: no", "hint")
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert json.loads(lines[1])["msg"] == "create c1: no"
    assert capfd.readouterr().err == "pyruntime create failed: c1: no\n"


def test_a_new_log_file_holds_one_json_object_also_when_something_was_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    errors = Log(path=str(path), json=True)
    errors.warning("tolerated")
    errors.debug("step")
    errors.error("failed", "failed")
    assert json.loads(path.read_text())["msg"] == "failed"


def test_with_debug_warnings_and_steps_are_logged_before_the_error(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    errors = Log(path=str(path), json=True, debug=True)
    errors.warning("tolerated")
    errors.debug("step")
    errors.error("failed", "failed")
    assert [json.loads(line)["level"] for line in path.read_text().splitlines()] == [
        "warning",
        "debug",
        "error",
    ]


def test_without_a_file_a_json_log_goes_to_stderr_alone(capfd: pytest.CaptureFixture[str]) -> None:
    Log(json=True).error("failed", "bare")
    assert json.loads(capfd.readouterr().err)["msg"] == "failed"


def test_the_hint_is_kept_from_engines_that_read_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Log().error("failed", "bare", "hint")
    assert capfd.readouterr().err == "bare\n"


def test_with_debug_the_hint_stands_before_the_last_line(capfd: pytest.CaptureFixture[str]) -> None:
    Log(debug=True).error("failed", "bare", "do this")
    assert capfd.readouterr().err == "hint: do this\nbare\n"


def test_a_log_that_cannot_be_written_leaves_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Log(path=str(tmp_path / "missing" / "log")).error("failed", "bare")
    assert capfd.readouterr().err == "bare\n"


def test_bytes_that_are_not_utf_8_come_out_as_they_were(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Log().error("x", os.fsdecode(b"/bad\xff"))
    assert capfdbinary.readouterr().err == b"/bad\xff\n"
