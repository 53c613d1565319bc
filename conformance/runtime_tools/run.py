"""Runs the programs over one runtime, in namespaces of their own, and reads what they say (TAP)."""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

LIMIT = 60  # seconds for one program
# The processes of a program, and its mounts, are gone with the namespaces; what it makes in cgroups is not.
APART = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
NUMBERS = re.compile(r"^(not ok|ok)\b(.*)$", re.MULTILINE)
# All of these use one and the same cgroup, whatever the runtime.
SHARED_CGROUP = threading.Lock()
# crun before 1.9 knows versions 1.0.x only: its containers are told that they are of 1.0.2.
OLD_VERSION_WRAPPER = """#!/bin/sh
for word; do
    case $previous in --bundle | -b) bundle=$word ;; esac
    previous=$word
done
config=${bundle:-.}/config.json
[ ! -f "$config" ] || sed -i 's/"ociVersion": *"1\\.[1-9][^"]*"/"ociVersion":"1.0.2"/' "$config"
exec RUNTIME "$@"
"""


@dataclass(frozen=True)
class Outcome:
    """What a program said: assertions that held, that failed, that were skipped; its exit code; its diagnostics."""

    held: int
    failed: int
    skipped: int
    code: int
    diagnostics: str

    @property
    def is_clean(self) -> bool:
        return self.code == 0 and self.held > 0 and self.failed == 0

    def __str__(self) -> str:
        text = f"{self.held}/{self.failed}/{self.skipped}"
        return f"{text}, exit {self.code}" if self.code else text


def read_outcome(output: str, diagnostics: str, code: int) -> Outcome:
    held = failed = skipped = 0
    for verdict, rest in NUMBERS.findall(output):
        if verdict == "not ok":
            failed += 1
        elif "# SKIP" in rest:
            skipped += 1
        else:
            held += 1
    return Outcome(held, failed, skipped, code, diagnostics.strip())


def run_program(folder: Path, program: str, runtime: Path) -> Outcome:
    """Run one program over one runtime; a hang counts as exit code 124."""
    shares = "cgroup" in program or "resources" in program
    with (
        SHARED_CGROUP if shares else nullcontext(),
        scratch() as directory,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        environment = {**os.environ, "RUNTIME": str(runtime), "TMPDIR": str(directory)}
        # Containers that are left over keep the output open, so it is no pipe.
        command = [*APART, "timeout", "--kill-after=5", str(LIMIT), str(folder / "bin" / program)]
        result = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=False,
        )
        out.seek(0)
        err.seek(0)
        return read_outcome(out.read(), err.read(), result.returncode)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that mapped users can enter."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="runtime-tools-", dir=base, ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def usable(runtime: Path, folder: Path, scratch_directory: Path) -> Path:
    """The runtime if it knows the version of the programs' configs, else a wrapper of it that rewrites the version."""
    if run_program(folder, "create", runtime).is_clean:
        return runtime
    scratch_directory.mkdir()
    wrapper = scratch_directory / runtime.name
    wrapper.write_text(OLD_VERSION_WRAPPER.replace("RUNTIME", str(runtime)))
    wrapper.chmod(0o755)
    return wrapper
