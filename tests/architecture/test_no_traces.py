"""What is published depends on no machine: no path of a build machine, and nothing built, is in the tree."""

import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent.parent
# Home and work directories, and names of temporary files of a session.
MACHINE_PATH = re.compile(
    rb"(?<![\w.}$\"'])/(?:home/(?!user\b)[a-z]\w+|root/\.(?:pyenv|cache)|Users/\w+|work/\w+)/"
)


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=TREE, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [TREE / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_file_names_a_directory_of_a_build_machine() -> None:
    found = [
        f"{path.relative_to(TREE)}: {match[0].decode()}"
        for path in tracked_files()
        if path != Path(__file__)
        for match in MACHINE_PATH.finditer(path.read_bytes())
    ]
    assert not found, "\n".join(found)


def test_no_build_product_is_tracked() -> None:
    found = [
        str(path.relative_to(TREE))
        for path in tracked_files()
        if path.suffix in (".o", ".so", ".pyc", ".whl") or path.read_bytes()[:4] == b"\x7fELF"
    ]
    assert not found, "\n".join(found)
