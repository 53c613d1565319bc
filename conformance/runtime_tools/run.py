"""Runs the programs over one runtime, in namespaces of their own, and reads what they say (TAP)."""

import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from conformance.runtime import Runtime

LIMIT = 240  # seconds for one program, also on a machine that is emulated
# The processes of a program, and its mounts, are gone with the namespaces; what it makes in cgroups is not.
APART = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
# The same where systemd is told the numbers of processes: they have to be those that it knows.
DRIVER = "--systemd-cgroup"
BESIDE_SYSTEMD = ("unshare", "--mount")
NUMBERS = re.compile(r"^(not ok|ok)\b(.*)$", re.MULTILINE)
# All of these use one and the same cgroup, whatever the runtime.
SHARED_CGROUP = threading.Lock()
# crun before 1.9 knows versions 1.0.x only: its containers are told that they are of 1.0.2.
OLD_VERSION = """for word; do
    case $previous in --bundle | -b) bundle=$word ;; esac
    previous=$word
done
config=${bundle:-.}/config.json
[ ! -f "$config" ] || sed -i 's/"ociVersion": *"1\\.[1-9][^"]*"/"ociVersion":"1.0.2"/' "$config"
"""


@dataclass(frozen=True)
class Program:
    """A runtime as the programs are given it: one path, which may be that of a wrapper."""

    path: Path
    beside_systemd: bool = False


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


def run_program(folder: Path, program: str, runtime: Program) -> Outcome:
    """Run one program over one runtime; a hang counts as exit code 124."""
    shares = "cgroup" in program or "resources" in program
    with (
        SHARED_CGROUP if shares else nullcontext(),
        scratch() as directory,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        environment = {**os.environ, "RUNTIME": str(runtime.path), "TMPDIR": str(directory)}
        apart = BESIDE_SYSTEMD if runtime.beside_systemd else APART
        # Containers that are left over keep the output open, so it is no pipe.
        command = [*apart, "timeout", "--kill-after=5", str(LIMIT), str(folder / "bin" / program)]
        result = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=False,
        )
        if runtime.beside_systemd:
            delete_containers(runtime.path, directory)
        out.seek(0)
        err.seek(0)
        return read_outcome(out.read(), err.read(), result.returncode)


def delete_containers(runtime: Path, directory: Path) -> None:
    """Delete the containers whose bundles lie below a directory, which no namespace ends."""
    listed = subprocess.run(
        [runtime, "list", "--format", "json"], capture_output=True, text=True, check=False, timeout=LIMIT
    )
    for each in json.loads(listed.stdout or "null") or ():
        if each["bundle"].startswith(f"{directory}/"):
            delete = [runtime, "delete", "--force", each["id"]]
            subprocess.run(delete, capture_output=True, check=False, timeout=LIMIT)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that mapped users can enter."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="runtime-tools-", dir=base, ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def usable(runtime: Runtime, folder: Path, wrappers: Path) -> Program:
    """The runtime itself if it wants no options and knows the version of the configs, else a wrapper of it."""
    beside_systemd = DRIVER in runtime.options
    program = Program(Path(runtime.path), beside_systemd)
    command = " ".join((runtime.path, *runtime.options))
    if runtime.options:
        program = Program(_wrapper(wrappers / f"{runtime.name}-driven", command), beside_systemd)
    if run_program(folder, "create", program).is_clean:
        return program
    return Program(_wrapper(wrappers / runtime.name, command, OLD_VERSION), beside_systemd)


def _wrapper(path: Path, command: str, before: str = "") -> Path:
    path.write_text(f'#!/bin/sh\n{before}exec {command} "$@"\n')
    path.chmod(0o755)
    return path
