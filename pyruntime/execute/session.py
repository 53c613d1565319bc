"""The parent's side of the executor: start it, give it orders, read its reports.

The executor runs from a sealed memfd, so that nothing in the container can open the host's copy of it through
/proc/PID/exe (CVE-2019-5736).  It is spawned, never forked from Python: a library caller may have
threads, and the child must not carry an interpreter.
"""

import errno
import fcntl
import os
import select
import sys

from pyruntime.base import restart
from pyruntime.base.errors import ExpectedError, HostError, StepError, errno_text
from pyruntime.base.record import Record
from pyruntime.execute.encoding import encode_plan
from pyruntime.execute.hints import hint_for
from pyruntime.plan.operations import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# The executor's file, where the program's saved heap has it.
EXECUTOR_IMAGE: bytes | None = None
REPORT_SIZE = 512
_PATIENCE_MS = 1000

CLONED = 1
REACHED = 2
FAILED = 3
FINISHED = 4
NOTICE = 5

_F_ADD_SEALS = 1033
_ALL_SEALS = 0xF  # SEAL, SHRINK, GROW, WRITE

# Offsets from the first descriptor number used in the executor's process.
REPORT_FD, ORDER_FD, FIFO_FD, FAILURE_FD = range(4)
CONSOLE_FD, LISTENER_FD, INIT_FD, HOOK_OUT_FD, HOOK_ERR_FD = range(4, 9)
_LOWEST_BASE = 32


class Report(Record):
    """One message of the executor; `value` is a pid, a rendezvous or nanoseconds, as the kind demands."""

    kind: int
    step: int
    value: int
    errno: int
    call: str
    text: str


def descriptor_base(first_private: int) -> int:
    """The first number that the executor's own descriptors take: above all that the container keeps."""
    return max(first_private, _LOWEST_BASE)


class StartedExecutor:
    """An executor that waits for its plan.  It is started in advance, so that it is there when the plan is made.

    `descriptors` maps a place (INIT_FD ...) to a descriptor of this process that the executor gets there; `stdio`
    are those that it gets as 0, 1 and 2, instead of this process's own.  `report_steps`: it reports each
    step of what it begins with.

    Raises:
        HostError, StepError: it cannot be started.
    """

    def __init__(
        self,
        *,
        first_private: int,
        descriptors: dict[int, int],
        stdio: tuple[int, ...] = (),
        report_steps: bool = False,
    ) -> None:
        self.kind = (first_private, descriptors.keys(), stdio)
        self._report_steps = report_steps
        self.begun: tuple[Operation, ...] = ()
        self.orders = self.reports = -1
        base = descriptor_base(first_private)
        program = sealed_executor()
        self.reports, report_end = os.pipe()
        order_end, self.orders = os.pipe()
        try:
            inherited = {REPORT_FD: report_end, ORDER_FD: order_end, **descriptors}
            self.pid = _spawn(program, base, inherited, stdio)
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in (program, report_end, order_end):
                os.close(descriptor)
        restart.beforehand.append(self.discard)

    def __enter__(self) -> "StartedExecutor":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()

    def begin(self, front: tuple[Operation, ...]) -> None:
        """Let it carry out what its plan is going to begin with.

        Raises:
            SpecError: a string holds a NUL byte.
        """
        _send(self.orders, encode_plan(front, report_steps=self._report_steps, continues=True))
        self.begun = front

    def take(self) -> tuple[int, int, int]:
        """Its pid, and the pipes for orders and reports, which belong to the caller from now on."""
        restart.beforehand.remove(self.discard)
        taken = self.pid, self.orders, self.reports
        self.pid = self.orders = self.reports = -1
        return taken

    def discard(self) -> None:
        """Let it end, unless somebody has taken it."""
        if self.pid > 0:
            restart.beforehand.remove(self.discard)
            os.close(self.orders)
            _end([self.pid, *_clones_named(self.reports)])
            os.close(self.reports)
            self.pid = -1

    def _close(self) -> None:
        os.close(self.orders)
        os.close(self.reports)


class Session:
    """An executor at work on one plan.

    `started`: one that was started in advance; if it has not what this one needs, another is started.
    `descriptors` and `stdio` are those of StartedExecutor.
    `observe` is told of each finished step: step number and nanoseconds.
    """

    def __init__(
        self,
        operations: tuple[Operation, ...],
        *,
        first_private: int,
        descriptors: dict[int, int],
        observe: "Callable[[int, int], None] | None" = None,
        stdio: tuple[int, ...] = (),
        started: StartedExecutor | None = None,
    ) -> None:
        restart.forbid()
        self.operations = operations
        self._observe = observe
        kind = first_private, descriptors.keys(), stdio
        begun = len(started.begun) if started is not None else 0
        if started is None or started.kind != kind or started.begun != operations[:begun]:
            begun = 0
            started = StartedExecutor(first_private=first_private, descriptors=descriptors, stdio=stdio)
        plan = encode_plan(operations[begun:], report_steps=observe is not None, first_step=begun + 1)
        self.pid, self._orders, self._reports = started.take()
        self._unreaped = [self.pid]
        _send(self._orders, plan)

    def order(self, rendezvous: int) -> None:
        """Tell the executor that it may go on; if it is gone, its last report says why."""
        _send(self._orders, rendezvous.to_bytes(4, "little"))

    def next_report(self) -> Report | None:
        """The next report other than finished steps, or None once the executor has closed its end."""
        while (report := self._read_report()) is not None:
            if report.kind != FINISHED:
                return report
            if self._observe is not None:
                self._observe(report.step, report.value)
        if number := _spawn_error():
            raise _cannot_start(number)
        return None

    def _read_report(self) -> Report | None:
        data = os.read(self._reports, REPORT_SIZE)
        if len(data) < REPORT_SIZE:
            return None
        report = _decode_report(data)
        if report.kind == CLONED:
            self._unreaped.append(report.value)
            self.pid = report.value
        return report

    def failure(self, report: Report) -> StepError:
        """What a FAILED report means, in the words of the plan."""
        operation = self.operations[report.step - 1] if 0 < report.step <= len(self.operations) else None
        return step_failure(operation, report, len(self.operations))

    def reap_helpers(self) -> None:
        """Wait for the processes that only led to the last one; they end by themselves."""
        for pid in self._unreaped:
            if pid != self.pid:
                _wait(pid)
        self._unreaped = [self.pid]

    def kill(self) -> int:
        """End what is left and wait for it; returns the wait status of the last process (-1: unknown)."""
        if self._reports >= 0:
            os.close(self._orders)
            self._orders = -1
            self._unreaped += _clones_named(self._reports)
        status = _end(self._unreaped)
        self._unreaped = []
        self.close()
        return status

    def wait_ended(self) -> int:
        """The wait status of the last process, which must have ended or be about to end."""
        self._unreaped = [pid for pid in self._unreaped if pid != self.pid]
        return _wait(self.pid)

    def has_ended(self) -> bool:
        """Whether the last process has ended already."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return False

    def close(self) -> None:
        """Close both pipes; an executor that still waits for an order then ends."""
        for descriptor in (self._orders, self._reports):
            if descriptor >= 0:
                os.close(descriptor)
        self._orders = self._reports = -1


def _send(orders: int, data: bytes) -> None:
    """If the executor is gone, its last report says why, or its end."""
    try:
        while data:
            data = data[os.write(orders, data) :]
    except BrokenPipeError:
        return


def _clones_named(reports: int) -> list[int]:
    """Those that an executor without orders has cloned: each of its processes ends, and names its clone before that."""
    pids: list[int] = []
    poll = select.poll()
    poll.register(reports, select.POLLIN)
    while poll.poll(_PATIENCE_MS) and len(data := os.read(reports, REPORT_SIZE)) == REPORT_SIZE:
        report = _decode_report(data)
        if report.kind == CLONED:
            pids.append(report.value)
    return pids


def _end(pids: list[int]) -> int:
    """Kill and wait for children; returns the wait status of the last."""
    status = -1
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
        status = _wait(pid)
    return status


def _wait(pid: int) -> int:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return -1


def memory_file(name: str, content: bytes) -> int:
    """An anonymous file with this content, read from its start."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def sealed_executor() -> int:
    """An anonymous copy of the executor that nobody can change any more, not even root in the container.

    Raises:
        HostError: the executor has not been built.
    """
    copy = os.memfd_create("executor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        if "pyruntime_launcher" in sys.modules:
            os.write(copy, EXECUTOR_IMAGE or sys.modules["pyruntime_launcher"].executor())
        else:
            _copy_file(os.path.join(os.path.dirname(__file__), "executor", "executor"), copy)
        fcntl.fcntl(copy, _F_ADD_SEALS, _ALL_SEALS)
    except BaseException:
        os.close(copy)
        raise
    return copy


def _copy_file(path: str, target: int) -> None:
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = "install the package (pip install .), which builds it"
        raise HostError("the executor is missing", where=path, hint=hint) from None
    try:
        while os.sendfile(target, source, None, 1 << 20):
            pass
    finally:
        os.close(source)


def _spawn(program: int, base: int, inherited: dict[int, int], stdio: tuple[int, ...] = ()) -> int:
    """Spawn the executor with each descriptor at base + place; those in the way are moved up first."""
    moved: list[int] = []
    moves: list[tuple[int, int]] = []
    limit = base + 16

    def out_of_the_way(descriptor: int) -> int:
        if (descriptor < base or descriptor >= limit) and not (stdio and descriptor < 3):
            return descriptor
        duplicate = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, limit)
        moved.append(duplicate)
        return duplicate

    try:
        for place, descriptor in inherited.items():
            moves.append((out_of_the_way(descriptor), base + place))
        # Put in place last: until then the numbers may be what something else was taken from.
        for number, descriptor in enumerate(map(out_of_the_way, stdio)):
            moves.append((descriptor, number))
        arguments = ["executor", str(base), str(base + REPORT_FD), str(base + ORDER_FD)]
        path = f"/proc/self/fd/{out_of_the_way(program)}"
        if "pyruntime_launcher" in sys.modules:
            return int(sys.modules["pyruntime_launcher"].spawn(path, arguments, moves))
        actions = [(os.POSIX_SPAWN_DUP2, *move) for move in moves]
        return os.posix_spawn(path, arguments, os.environ, file_actions=actions)
    except OSError as error:
        raise _cannot_start(error.errno or 0) from None
    finally:
        for descriptor in moved:
            os.close(descriptor)


def _spawn_error() -> int:
    """Why the executor is not there, where that shows only later; else 0."""
    if "pyruntime_launcher" in sys.modules:
        return int(sys.modules["pyruntime_launcher"].spawn_error())
    return 0


def _cannot_start(number: int) -> ExpectedError:
    if number == errno.ENOENT:
        hint = "mount a procfs on /proc: the executor is started through /proc/self/fd"
        return HostError("cannot start the executor: /proc is not usable", hint=hint)
    return StepError(f"cannot start the executor: {errno_text(number)}", call="execve", errno=number)


def _decode_report(data: bytes) -> Report:
    length = int.from_bytes(data[20:24], "little")
    return Report(
        kind=int.from_bytes(data[0:4], "little"),
        step=int.from_bytes(data[4:8], "little"),
        value=int.from_bytes(data[8:16], "little", signed=True),
        errno=int.from_bytes(data[16:20], "little", signed=True),
        call=data[24:48].split(b"\0", 1)[0].decode("ascii", "replace"),
        text=data[48 : 48 + min(length, REPORT_SIZE - 48)].decode("utf-8", "surrogateescape"),
    )


def step_failure(operation: Operation | None, report: Report, steps: int) -> StepError:
    """The error of a failed step: step k of n, what it was to do, the call and errno, and where in config.json."""
    described = operation.describe() if operation is not None else "start"
    reason = report.text
    if report.call:
        reason = f"{report.call} {report.text}".strip() + f": {errno_text(report.errno)}"
    elif report.errno and not reason:
        reason = errno_text(report.errno)
    return StepError(
        f"unable to start container process: step {report.step} of {steps}: {described}: {reason}",
        where=operation.origin if operation is not None else "",
        hint=hint_for(operation, report.errno) if operation is not None else "",
        call=report.call,
        errno=report.errno,
    )
