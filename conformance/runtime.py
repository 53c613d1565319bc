"""A runtime under judgement: where it is, what it calls itself, and its name in the report."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace


class UnusableError(Exception):
    """What was asked for cannot be judged; the text says what to do about it."""


@dataclass(frozen=True)
class Runtime:
    """`kind` and `version` are what `--version` says; the known faults go by the kind.

    `options`: global ones that come before every verb, such as --systemd-cgroup.
    """

    name: str
    path: str
    kind: str
    version: str
    options: tuple[str, ...] = ()


def find_runtimes(asked: Sequence[str], options: tuple[str, ...] = ()) -> list[Runtime]:
    """The runtimes named on the command line, each as PATH or NAME=PATH, under names that differ.

    Raises:
        UnusableError: one is not there, cannot be run, or has no version to tell.
    """
    found: list[Runtime] = []
    for word in asked:
        name, equals, path = word.partition("=")
        path = path if equals else word
        program = shutil.which(path)
        if program is None:
            where = (
                "there is no such program"
                if "/" in path
                else f"no such program in {os.environ.get('PATH', '')}"
            )
            raise UnusableError(f"{path}: {where}; give the path of a runtime, or a name that is in PATH")
        wanted = name if equals else os.path.basename(program)
        taken = {one.name for one in found}
        number = 2
        shown = wanted
        while shown in taken:
            shown, number = f"{wanted}-{number}", number + 1
        found.append(replace(described(shown, os.path.abspath(program)), options=options))
    return found


def described(name: str, path: str) -> Runtime:
    """The runtime with what the first line of its `--version` says: `runc version 1.1.5`.

    Raises:
        UnusableError: it does not run, or says nothing of the kind.
    """
    try:
        said = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnusableError(f"{path}: `--version` does not run: {error}") from None
    words = said.stdout.split()
    if said.returncode != 0 or len(words) < 3 or words[1] != "version":
        seen = (said.stdout or said.stderr).strip()[:200]
        raise UnusableError(f"{path}: no runtime with runc's command line: `--version` says {seen!r}")
    return Runtime(name, path, os.path.basename(words[0]), words[2])
