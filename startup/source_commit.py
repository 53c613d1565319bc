"""Which commit is built: docker and people read it from `--version`."""

import subprocess
from pathlib import Path

_UNKNOWN = 'COMMIT = ""'


def commit_of(directory: Path) -> str:
    """The commit that is checked out, with "-dirty" where files differ from it; "" where there is no checkout."""
    if not (directory / ".git").exists():
        return ""
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def note_commit(source: Path, target: Path, commit: str) -> None:
    """Write pyruntime/version.py, as it is in `source`, with the commit to `target`.

    Raises:
        ValueError: the file does not say where.
    """
    text = source.read_text()
    if _UNKNOWN not in text:
        raise ValueError(f"{source} has no line {_UNKNOWN}")
    target.write_text(text.replace(_UNKNOWN, f"COMMIT = {commit!r}"))
