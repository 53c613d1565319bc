"""The steps of a build that other programs do, and what those say of libraries and executables."""

import bisect
import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TIME_LIMIT = 120
# Sections that are libc's business, or that nothing writes to after the start.
NOT_SAVED = (".tbss", ".tdata", ".init_array", ".fini_array", ".ctors", ".dtors", ".probes", ".eh_frame")


# The members of a static libpython that commands use most, densest first: side by side they are a megabyte and a half
# instead of three and a half.  Only time depends on it; what is not there is left out.
USED_MOST = (
    "boolobject", "structmember", "cellobject", "frame", "pyhash", "unionobject", "classobject",
    "sliceobject", "thread", "frameobject", "specialize", "modsupport", "object", "fileutils",
    "descrobject", "dictobject", "methodobject", "listobject", "ceval", "pystate", "setobject",
    "bytes_methods", "funcobject", "tupleobject", "errors", "obmalloc", "getargs", "abstract", "call",
    "genobject", "exceptions", "longobject", "gcmodule", "gc", "enumobject", "bltinmodule", "bytesobject",
    "unicodeobject", "moduleobject", "genericaliasobject", "typeobject", "posixmodule", "signalmodule",
    "rangeobject", "import", "traceback", "sysmodule", "weakrefobject", "structseq", "floatobject",
    "pytime",
)  # fmt: skip


class UnavailableError(Exception):
    """A tier cannot be built here; the text says why."""


def run(*command: str | Path, where: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a step of the build; returns its output.

    Raises:
        UnavailableError: the program is missing or fails.
    """
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words,
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_LIMIT,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise UnavailableError(f"{words[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{words[0]} takes longer than {TIME_LIMIT} s") from None
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        reason = next(
            (line for line in lines if "error" in line.lower()), lines[-1] if lines else "no output"
        )
        if os.environ.get("PYRUNTIME_START_VERBOSE"):
            sys.stderr.write(" ".join(words) + "\n" + "\n".join(lines) + "\n")
        raise UnavailableError(f"{Path(words[0]).name} fails with {result.returncode}: {reason}")
    return result.stdout


def provided(library: Path) -> set[str]:
    """The C modules that a static libpython has."""
    symbols = run("nm", "--defined-only", library).split()
    return {symbol.removeprefix("PyInit_") for symbol in symbols if symbol.startswith("PyInit_")}


def members_used_most(library: Path, into: Path) -> list[Path]:
    """Extract these members into a new directory; returns them in the order in which they are to be linked."""
    there = run("ar", "t", library).split()
    names = [f"{name}.o" for name in USED_MOST if there.count(f"{name}.o") == 1]
    into.mkdir(exist_ok=True)
    run("ar", "x", library, *names, where=into)
    return [into / name for name in names]


def symbol_addresses(path: Path) -> list[tuple[int, str]]:
    """The symbols of a program by address."""
    lines = [line.split() for line in run("nm", "--numeric-sort", "--defined-only", path).splitlines()]
    return [(int(words[0], 16), words[2]) for words in lines]


def symbol_sizes(path: Path) -> dict[str, int]:
    """How large the variables and functions of a program are, in bytes."""
    lines = [line.split() for line in run("nm", "--print-size", "--defined-only", path).splitlines()]
    return {words[3]: int(words[1], 16) for words in lines if len(words) == 4}


def symbol_at(symbols: list[tuple[int, str]], address: int) -> str:
    """The name of the variable at an address."""
    return symbols[bisect.bisect_right(symbols, (address, "\x7f")) - 1][1]


def writable_sections(path: Path) -> list[str]:
    """The sections of an object file that hold its variables."""
    found = []
    lines = run("objdump", "--section-headers", "--wide", path).splitlines()
    for line in lines:
        words = line.split()
        if len(words) < 7 or not words[0].isdigit():
            continue
        flags = " ".join(words[6:])
        if "ALLOC" in flags and "READONLY" not in flags and not words[1].startswith(NOT_SAVED):
            found.append(words[1])
    return found


@contextlib.contextmanager
def fixed_addresses() -> Iterator[None]:
    """Programs started meanwhile get the same stack and heap addresses each time (personality(2)).

    Raises:
        UnavailableError: the kernel refuses that.
    """
    no_randomization = 0x0040000
    library = ctypes.CDLL(None)
    before = library.personality(0xFFFFFFFF)
    if library.personality(before | no_randomization) == -1:
        raise UnavailableError(
            "personality(2) is refused, as the default seccomp profile of containers does it"
        )
    try:
        yield
    finally:
        library.personality(before)


def self_test(program: Path) -> None:
    """Run what was built: it must start, read and refuse as it should.

    Raises:
        UnavailableError: it does not.
    """
    version = run(program, "--version")
    if not version.startswith("pyruntime version "):
        raise UnavailableError(f"--version prints {version!r}")
    with tempfile.TemporaryDirectory(prefix="pyruntime-launcher-") as bundle:
        run(program, "spec", "--bundle", bundle)
        plan = run(program, "explain", bundle)
        if "/linux/maskedPaths" not in plan:
            raise UnavailableError(f"explain prints {plan[:100]!r}")
        words = [str(program), "--root", f"{bundle}/root", "state", "missing"]
        refused = subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
        if refused.returncode != 1 or "does not exist" not in refused.stderr:
            raise UnavailableError(f"state of a missing container: {refused.returncode}, {refused.stderr!r}")
