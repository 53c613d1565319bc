"""Each verb imports what it needs and nothing else: start-up is most of what a container costs."""

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]

START = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv.pop(1))
from pyruntime.cli.main import main
main()
sys.stderr.write("MODULES " + " ".join(sorted(set(sys.modules) - before)))
"""

# Built into the interpreter or of no cost; everything else has to be argued for.
ALLOWED = {
    "_json", "_signal", "_socket", "_stat", "_struct", "errno", "fcntl", "math", "posix", "resource", "select",
    "stat", "struct", "time", "types", "os", "posixpath", "genericpath", "_collections_abc", "abc", "_abc",
    "os.path", "zipimport",
}  # fmt: skip

HEAVY = {
    "argparse", "json", "re", "typing", "dataclasses", "logging", "subprocess", "socket", "pathlib", "enum", "datetime",
    "tempfile", "shutil", "signal", "contextlib", "collections", "ctypes", "functools", "jsonschema", "zstandard",
}  # fmt: skip


def modules_of(*words: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-ISc", START, str(TREE), *words], capture_output=True, text=True, check=True
    )
    return set(result.stderr.rpartition("MODULES ")[2].split())


def check(words: tuple[str, ...]) -> None:
    foreign = {name for name in modules_of(*words) if not name.startswith("pyruntime")}
    assert not foreign & HEAVY
    assert foreign <= ALLOWED, foreign - ALLOWED


@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("features",),
        ("list",),
        ("list", "--format", "json"),
        ("state", "x"),
        ("start", "x"),
        ("kill", "x", "TERM"),
        ("delete", "x"),
        ("delete", "--force", "x"),
        ("pause", "x"),
        ("resume", "x"),
        ("ps", "--format", "json", "x"),
        ("update", "--pids-limit", "5", "x"),
        ("events", "--stats", "x"),
    ],
)
def test_a_simple_verb_stays_within_the_budget(tmp_path: Path, words: tuple[str, ...]) -> None:
    if words[0].startswith("-"):
        check(words)
    else:
        check(("--root", str(tmp_path), *words))


@pytest.mark.parametrize("verb", ["create", "run", "exec", "explain"])
def test_a_verb_that_plans_stays_within_the_budget(tmp_path: Path, verb: str) -> None:
    words = {"create": ("c1",), "run": ("c1",), "exec": ("c1", "true"), "explain": ("/nonexistent",)}[verb]
    check(("--root", str(tmp_path), verb, *words))


@pytest.mark.parametrize("verb", ["state", "list", "kill"])
def test_a_verb_that_only_looks_does_not_load_the_planner(tmp_path: Path, verb: str) -> None:
    loaded = modules_of("--root", str(tmp_path), verb, *(() if verb == "list" else ("x",)))
    assert not {
        name for name in loaded if name.startswith(("pyruntime.plan", "pyruntime.execute", "pyruntime.spec"))
    }
