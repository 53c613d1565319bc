"""Work in several processes that end with this one, whatever ends it.

Forked, because a new interpreter costs twice as much before it has imported anything; a process with threads
must not fork, so there the work is done in place, one job after the other.
"""

from __future__ import annotations

import ctypes
import functools
import marshal
import os
import selectors
import signal
import threading

from oci_image import errors as image_errors
from pyruntime.base import errors as base_errors
from pyruntime.base.errors import ExpectedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_PR_SET_PDEATHSIG = 1
_STEP_BACK = 3  # steps of nice, each worth a quarter more or less of a busy processor
_MMAP_THRESHOLD = -3  # of mallopt(3)
_TRIM_THRESHOLD = -1
_libc = ctypes.CDLL(None, use_errno=True)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _as_it_is(result: Any) -> Any:  # noqa: ANN401 - whatever the job returned
    return result


def run_all(
    jobs: Sequence[Callable[[], Any]], at_once: int, *, take: Callable[[Any], Any] = _as_it_is
) -> list[Any]:
    """The results of all jobs, in order; the first failure ends the others and is raised here.

    Results consist of what marshal takes: None, numbers, bytes, texts, tuples, lists and dictionaries.  `take` makes
    something else of each here, while other jobs still run.
    """
    if len(jobs) < 2 or at_once < 2 or threading.active_count() > 1:
        return [take(job()) for job in jobs]
    results: list[Any] = [None] * len(jobs)
    waiting = list(enumerate(jobs))
    waiting.reverse()
    running: dict[int, int] = {}  # reading end of the pipe -> pid
    ended: list[int] = []
    try:
        with selectors.DefaultSelector() as selector:
            while waiting or running:
                while waiting and len(running) < at_once:
                    number, job = waiting.pop()
                    pid, fd = _start(job)
                    running[fd] = pid
                    selector.register(fd, selectors.EVENT_READ, (number, []))
                for key, _ in selector.select():
                    number, pieces = key.data
                    piece = os.read(key.fd, 1 << 20)
                    if piece:
                        pieces.append(piece)
                        continue
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    ended.append(running.pop(key.fd))
                    results[number] = take(_result(b"".join(pieces)))
    finally:
        for pid in ended:
            os.waitpid(pid, 0)
        for pid in running.values():
            os.kill(pid, signal.SIGKILL)
        for fd, pid in running.items():
            os.close(fd)
            os.waitpid(pid, 0)
    return results


def can_start() -> bool:
    """Whether there is a processor for another process, and nothing that forbids to fork."""
    return processors() > 1 and threading.active_count() == 1


class Worker:
    """One job in a process beside this one."""

    def __init__(self, job: Callable[[], Any]) -> None:
        """Start it; raises OSError."""
        self._pid, self._fd = _start(job)

    def result(self) -> Any:  # noqa: ANN401 - whatever the job returned
        """Wait for what the job returns or raises, as `run_all` does."""
        pieces = []
        while piece := os.read(self._fd, 1 << 20):
            pieces.append(piece)
        return _result(b"".join(pieces))

    def stop(self) -> None:
        """End it if it has not ended; to be called in any case."""
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self._pid, 0)


def run_balanced(
    jobs: Sequence[Callable[[], Any]],
    costs: Sequence[int],
    processes: int,
    *,
    take: Callable[[Any], Any] = _as_it_is,
) -> list[Any]:
    """The same by at most so many processes, each with about as much to do: a process costs more than a small job.

    Where one has twice as much to do as another, all wait for it, so that the other one steps back for it.
    """
    shares = deal(costs, processes)
    loads = [sum(costs[number] for number in share) for share in shares]
    works = [
        functools.partial(_in_turn, [jobs[n] for n in share], os.getpid(), step_back=2 * load <= max(loads))
        for share, load in zip(shares, loads, strict=True)
    ]
    found = run_all(works, len(works), take=lambda answers: list(map(take, answers)))
    results: list[Any] = [None] * len(jobs)
    for share, answers in zip(shares, found, strict=True):
        for number, answer in zip(share, answers, strict=True):
            results[number] = answer
    return results


def deal(costs: Sequence[int], hands: int) -> list[list[int]]:
    """Numbers of jobs for at most so many processes, the most costly first, dealt out so that sums are alike."""
    shares: list[list[int]] = [[] for _ in range(max(1, min(hands, len(costs))))]
    loads = [0] * len(shares)
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        least = loads.index(min(loads))
        loads[least] += costs[number]
        shares[least].append(number)
    return shares


def _in_turn(jobs: Sequence[Callable[[], Any]], parent: int, *, step_back: bool) -> list[Any]:
    if step_back and os.getpid() != parent:  # in the process itself it could not be taken back
        os.nice(_STEP_BACK)
    return [job() for job in jobs]


def _start(job: Callable[[], Any]) -> tuple[int, int]:
    """Start a job; its pid and where its result will be written."""
    reading, writing = os.pipe()
    parent = os.getpid()
    # Between the fork and the child's own handling a signal would run the parent's handler in the child.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        pid = os.fork()
        if pid == 0:
            _child(job, writing, parent, blocked)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.close(writing)
    return pid, reading


def _child(job: Callable[[], Any], writing: int, parent: int, blocked: set[Any]) -> None:
    """What a child does; does not return."""
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _keep_memory()
        try:
            answer: tuple[Any, ...] = ("done", job())
        except ExpectedError as error:
            answer = ("refused", type(error).__name__, error.what, error.where, error.hint)
        except Exception:  # a bug, whatever it is; the parent shows it
            import traceback

            answer = ("bug", traceback.format_exc())
        rest = memoryview(marshal.dumps(answer))
        while rest:
            rest = rest[os.write(writing, rest) :]
        # Before the memory is given back, which takes longer than all the rest of ending.
        os.close(writing)
    finally:
        os._exit(0)


def _keep_memory() -> None:
    """Keep what is freed: pieces of a megabyte come and go here, and their pages would be faulted in each time."""
    try:
        _libc.mallopt(_MMAP_THRESHOLD, 64 << 20)
        _libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
    except AttributeError:
        pass  # another C library than glibc


def _result(data: bytes) -> Any:  # noqa: ANN401 - whatever the job returned
    if not data:
        raise base_errors.HostError(
            "a worker process ended without an answer", hint="was it killed for lack of memory?"
        )
    # Written by a child of this very process, a moment ago.
    kind, *answer = marshal.loads(data)  # noqa: S302
    if kind == "done":
        return answer[0]
    if kind == "bug":
        raise RuntimeError(f"in a worker process:\n{answer[0]}")
    name, what, where, hint = answer
    for module in (image_errors, base_errors):
        if (known := getattr(module, name, None)) is not None:
            raise known(what, where=where, hint=hint)
    raise ExpectedError(what, where=where, hint=hint)
