"""What engines see of the program: its words, exit codes, log file and streams."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyruntime.verbs import SUMMARIES, VERBS

TREE = Path(__file__).resolve().parents[2]
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from pyruntime.cli.main import main; sys.exit(main())"
)


def run(*words: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    globals_ = ["--root", str(root)] if root is not None else []
    return subprocess.run(
        [sys.executable, "-ISc", START, str(TREE), *globals_, *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_version_is_what_docker_parses() -> None:
    result = run("--version")
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert lines[0].startswith("pyruntime version ")
    assert "spec: 1.3.0" in lines
    assert result.stderr == ""
    assert run("-v").stdout == result.stdout


def test_without_a_verb_the_help_is_printed() -> None:
    result = run()
    assert (result.returncode, result.stderr) == (0, "")
    assert "VERBS:" in result.stdout
    assert run("--help").stdout == result.stdout == run("help").stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    result = run(verb, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"pyruntime {verb} - {SUMMARIES[verb]}" in result.stdout
    assert f"USAGE:\n   pyruntime {verb}" in result.stdout
    assert run(verb, "-h").stdout == result.stdout


def test_podmans_probe_for_lsm_mount_context_is_answered() -> None:
    result = run("restore", "--lsm-mount-context")
    assert result.returncode == 1
    assert "flag needs an argument" in result.stderr


def test_the_wrong_number_of_arguments_is_an_incorrect_usage() -> None:
    result = run("state")
    assert result.returncode == 1
    assert result.stdout.startswith("Incorrect Usage.\n\nNAME:\n   pyruntime state")
    assert result.stderr == 'pyruntime: "state" requires exactly 1 argument(s)\n'


def test_an_unknown_verb_and_an_unknown_option() -> None:
    assert run("nope").returncode == 3
    result = run("list", "--nope")
    assert result.returncode == 1
    assert result.stdout.startswith("Incorrect Usage: flag provided but not defined: -nope")
    assert result.stderr == "flag provided but not defined: -nope\n"


def test_bad_options_of_exec_exit_1_and_a_failing_exec_255(tmp_path: Path) -> None:
    assert run("exec", "--nope", "c1", root=tmp_path).returncode == 1
    result = run("exec", "nope", "true", root=tmp_path)
    assert result.returncode == 255
    assert result.stderr == "pyruntime exec failed: nope: container does not exist\n"


def test_an_error_is_one_json_object_in_the_log_and_the_last_line_of_stderr(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    result = run(
        "--log",
        str(log),
        "--log-format",
        "json",
        "create",
        "--bundle",
        str(tmp_path),
        "c1",
        root=tmp_path / "r",
    )
    assert result.returncode == 1
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert entry["msg"].startswith("create c1: ")
    assert result.stderr.startswith("pyruntime create failed: c1: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [["state", "x"], ["kill", "x", "9"], ["delete", "x"], ["start", "x"], ["pause", "x"], ["ps", "x"]],
)
def test_an_unknown_container_is_reported_in_the_words_that_engines_match(
    tmp_path: Path, words: list[str]
) -> None:
    result = run(*words, root=tmp_path)
    assert result.returncode == 1
    assert result.stderr == f"{words[0]} x: container does not exist\n"


def test_delete_force_of_an_unknown_container_is_silent(tmp_path: Path) -> None:
    result = run("delete", "--force", "x", root=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_list_of_nothing(tmp_path: Path) -> None:
    assert (
        run("list", root=tmp_path).stdout
        == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    )
    assert run("list", "-f", "json", root=tmp_path / "missing").stdout == "null\n"
    assert run("list", "-q", root=tmp_path).stdout == ""
    assert run("list", "--format=xml", root=tmp_path).returncode == 1


def test_features_is_one_json_object_and_stderr_stays_empty(tmp_path: Path) -> None:
    result = run("features", root=tmp_path / "missing")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["ociVersionMax"] == "1.3.0"
    assert not (tmp_path / "missing").exists()


def test_a_bug_is_reported_in_one_line_and_explained_with_debug(tmp_path: Path) -> None:
    break_it = START.replace(
        "sys.exit(", "import pyruntime.verbs.state as v; v.run = lambda *a: 1 // 0; sys.exit("
    )
    command = [sys.executable, "-ISc", break_it, str(TREE)]
    result = subprocess.run([*command, "state", "x"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("state x: internal error: ZeroDivisionError")
    assert result.stderr.count("\n") == 1
    result = subprocess.run([*command, "--debug", "state", "x"], capture_output=True, text=True, check=False)
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("state x: internal error")


def test_a_reader_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    command = [sys.executable, "-ISc", START, str(TREE), "features"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "internal error" not in process.stderr.read()
