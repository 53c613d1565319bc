"""The same list of commands for runc and for pyruntime, whose outcomes are compared."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import pytest

from tests.conftest import program
from tests.engines.engine import Engine
from tests.engines.sandbox import PROGRAMS_PATH, Outcome

RUNTIMES = ("runc", "pyruntime")
ENDS = r"(?= \(/process|: OCI runtime|: OCI permission|: unknown|\n|\"|$)"
# What a runtime says of a failure in words that engines and users match; the rest is its own.
ESSENCES = (
    r'exec: \\?"[^"]*": .*?' + ENDS,
    r"container not running|container does not exist|container not paused|cannot exec in a \w+ container",
)


def runtime_path(name: str) -> str:
    """The absolute path of a runtime's program."""
    if name == "pyruntime":
        words = program("pyruntime")
        assert len(words) == 1, "engines need an installed pyruntime: scripts/build"
        return words[0]
    found = shutil.which(name, path=PROGRAMS_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed: scripts/host-packages test")
    return found


def need(*programs: str) -> None:
    """Skip the test if one of the programs is missing; in CI that is a failure."""
    for name in programs:
        if shutil.which(name, path=PROGRAMS_PATH) is None:
            pytest.skip(f"{name} is not installed: scripts/host-packages test")


def essence(text: str) -> str:
    """The part of an error that must not differ between runtimes; empty if there is none."""
    found = [match[0].replace("\\", "") for pattern in ESSENCES for match in re.finditer(pattern, text)]
    # runc 1.1 says only "permission denied" of a directory, its successors only "is a directory"
    return "; ".join(found).replace("is a directory: ", "")


C = TypeVar("C", bound=Engine)


class Differential(Generic[C]):
    """Engines set to runc and to pyruntime, to be driven alike."""

    def __init__(self, engines: dict[str, C]) -> None:
        self.engines = engines

    def each(self, scenario: Callable[[C], object]) -> object:
        """Run `scenario` with both runtimes at once; returns what it returned, which must be the same."""
        with ThreadPoolExecutor(len(self.engines)) as pool:
            running = {name: pool.submit(scenario, engine) for name, engine in self.engines.items()}
            results = {name: future.result() for name, future in running.items()}
        assert results["pyruntime"] == results["runc"], results
        return results["pyruntime"]

    def same(self, *arguments: str, stdin: str = "") -> Outcome:
        """Run one command with both; exit codes, outputs and the essence of errors must be the same."""
        with ThreadPoolExecutor(len(self.engines)) as pool:
            running = {
                name: pool.submit(engine.call, *arguments, stdin=stdin)
                for name, engine in self.engines.items()
            }
            outcomes = {name: future.result() for name, future in running.items()}
        ours, theirs = outcomes["pyruntime"], outcomes["runc"]
        assert (ours.code, ours.out, essence(ours.err)) == (theirs.code, theirs.out, essence(theirs.err)), (
            f"{arguments}: {outcomes}"
        )
        return ours
