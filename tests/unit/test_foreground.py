"""What surrounds a container in the foreground, without a container."""

import os
import signal
import threading
from pathlib import Path

import pytest

from pyruntime.execute.foreground import SignalForwarding
from pyruntime.execute.working_directory import spawn_in

FAULTS = ("SIGILL", "SIGTRAP", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS")


@pytest.mark.parametrize("name", [*FAULTS, "SIGPIPE", "SIGCHLD"])
def test_what_is_about_this_process_is_not_caught(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    forwarding = SignalForwarding()
    try:
        assert signal.getsignal(number) is before
        assert signal.getsignal(signal.SIGTERM) not in (before, signal.SIG_DFL)
    finally:
        forwarding.close()


def test_the_signals_come_as_numbers_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    forwarding = SignalForwarding()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.SIGUSR1 in forwarding.received()
    finally:
        forwarding.close()
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.mark.parametrize("threads", [0, 1])
def test_a_process_is_spawned_in_the_directory_and_nobody_else_moves(tmp_path: Path, threads: int) -> None:
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait) for _ in range(threads)]
    for thread in others:
        thread.start()
    main = f"/proc/{os.getpid()}/cwd"
    before = os.readlink(main)
    seen: list[str] = []

    def spawn() -> int:
        seen.append(os.readlink(main))
        return os.posix_spawn("/bin/sh", ["sh", "-c", "pwd > out"], os.environ)

    try:
        assert os.waitpid(spawn_in(str(tmp_path), spawn), 0)[1] == 0
        with pytest.raises(FileNotFoundError):
            spawn_in(str(tmp_path / "missing"), spawn)
    finally:
        stop.set()
        for thread in others:
            thread.join()
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"
    assert os.readlink(main) == before
    if threads or len(os.listdir("/proc/self/task")) > 1:
        assert seen == [before]
