"""What a verb may cost, in figures that are the same on every machine: system calls, opened files, memory.

The budgets are those of tier 1 on a host with up to twelve cgroup hierarchies; each is a little above what is
needed.  Raise one only together with a reason.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import program
from tests.privileged.containers import DRIVER, Runtime, runtime

__all__ = ["runtime"]

# verb -> (system calls, files opened, private memory in KiB); calls without those that only make pages writable
BUDGETS = {
    "create": (160, 26, 1700),
    "start": (45, 6, 700),
    "state": (35, 4, 650),
    "exec": (200, 9, 1300),
    "kill": (35, 4, 700),
    "delete": (60, 5, 750),
    "run": (300, 30, 1800),
}
if DRIVER == "systemd":
    # Messages to systemd are many small objects of jeepney's, on pages that the build does not place.
    BUDGETS |= {"create": (260, 36, 2750), "delete": (100, 8, 1700), "run": (420, 44, 2800)}
WAYS = ("create", "start", "state", "exec", "kill", "delete", "run")


@pytest.fixture(autouse=True)
def tier_1() -> None:
    version = subprocess.run(
        [*program("pyruntime"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    if "(tier 1)" not in version:
        pytest.skip(f"the budgets are those of tier 1: {version}")


def life(runtime: Runtime) -> Iterator[tuple[str, list[str]]]:
    """Each verb with its command line, in the order of a container's life."""
    long, short = runtime.bundle("sleep", "100"), runtime.bundle("true")
    name = runtime.new_id()
    yield "create", ["create", "--bundle", str(long), name]
    yield "start", ["start", name]
    yield "state", ["state", name]
    yield "exec", ["exec", name, "true"]
    yield "kill", ["kill", name, "KILL"]
    while runtime.state(name)["status"] != "stopped":
        pass
    yield "delete", ["delete", name]
    yield "run", ["run", "--bundle", str(short), runtime.new_id()]


def test_system_calls_and_opened_files(runtime: Runtime, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is not installed")
    found = {}
    for verb, words in life(runtime):
        trace = tmp_path / verb
        subprocess.run(
            [strace, "-qq", "-o", trace, *runtime.command, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        calls = [
            line
            for line in trace.read_text().splitlines()
            if not line.startswith(("---", "+++", "madvise(", "process_madvise("))
        ]
        found[verb] = (len(calls), sum(line.startswith("open") for line in calls))
    assert tuple(found) == WAYS
    over = {verb: costs for verb, costs in found.items() if any(map(int.__gt__, costs, BUDGETS[verb][:2]))}
    assert not over, found


def test_private_memory(runtime: Runtime) -> None:
    found = {verb: private_memory([*runtime.command, *words]) for verb, words in life(runtime)}
    assert tuple(found) == WAYS
    assert not {verb: size for verb, size in found.items() if size > BUDGETS[verb][2]}, found
    assert min(found.values()) > 0


def private_memory(words: list[str]) -> int:
    """The anonymous memory in KiB of a command at its end, where it is stopped to be looked at (ptrace(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    pid = os.fork()
    if pid == 0:
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        libc.ptrace(0, 0, None, None)  # PTRACE_TRACEME
        os.execv(words[0], words)
    os.waitpid(pid, 0)
    libc.ptrace(0x4200, pid, None, 0x40)  # PTRACE_SETOPTIONS, PTRACE_O_TRACEEXIT
    size = 0
    while True:
        libc.ptrace(7, pid, None, 0)  # PTRACE_CONT
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return size
        if status >> 8 == 5 | 6 << 8:  # SIGTRAP, PTRACE_EVENT_EXIT
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    size = int(line.split()[1])
