"""The programs as pip installs them: from a wheel, and started as a module."""

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    # A copy: building writes into the tree, which other tests read at the same time.
    archive = subprocess.run(["git", "-C", TREE, "ls-files", "-z"], capture_output=True, check=True).stdout
    for name in archive.decode().split("\0"):
        if name and (TREE / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((TREE / name).read_bytes())
            (source / name).chmod((TREE / name).stat().st_mode & 0o777)
    folder = tmp_path_factory.mktemp("wheels")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    [path] = folder.glob("*.whl")
    return path


def test_a_wheel_carries_the_program_as_it_was_built(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip: list[str | Path] = [
        environment / "bin/python",
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "install", "--no-deps", wheel], check=True)
    installed = environment / "bin" / "pyruntime"
    version = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True).stdout
    ours = subprocess.run(
        [TREE / ".venv/bin/pyruntime", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert [line for line in version.splitlines() if line.startswith("start: ")] == [
        line for line in ours.splitlines() if line.startswith("start: ")
    ]
    if "(tier 1)" in version:
        assert installed.read_bytes()[:4] == b"\x7fELF"
    # A command that needs a full interpreter finds the package of its own environment.
    table = subprocess.run([installed, "ps", "missing"], capture_output=True, text=True, check=False)
    assert "does not exist" in table.stderr
    module = subprocess.run(
        [environment / "bin/python", "-m", "pyruntime", "--version"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "start: script (tier 3)" in module
    assert module.splitlines()[0] == version.splitlines()[0]
