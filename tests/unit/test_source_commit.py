"""The commit that a build notes for --version."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

TREE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def source_commit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("source_commit", TREE / "startup/source_commit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", "-C", directory, *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_of_a_checkout_and_whether_files_differ(source_commit: ModuleType, tmp_path: Path) -> None:
    assert source_commit.commit_of(tmp_path) == ""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "tag", "v1")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert source_commit.commit_of(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert source_commit.commit_of(tmp_path) == f"{commit}-dirty"


def test_it_is_written_where_version_looks_for_it(source_commit: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "version.py"
    source_commit.note_commit(TREE / "pyruntime/version.py", copy, "abc-dirty")
    noted: dict[str, str] = {}
    exec(copy.read_text(), noted)
    assert noted["COMMIT"] == "abc-dirty"
    with pytest.raises(ValueError, match="no line"):
        source_commit.note_commit(copy, copy, "again")
