"""pyruntime events: statistics of a container again and again, and a line when it runs out of memory."""

import os
import select
import time

from pyruntime.base.errors import StateError, UsageError
from pyruntime.base.jsonio import dumps
from pyruntime.host.cgroup_statistics import read_statistics
from pyruntime.host.process import open_process
from pyruntime.store.state import ContainerState
from pyruntime.store.status import STOPPED, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    Option(
        names=("interval",),
        value=True,
        metavar="DURATION",
        help="time between two statistics, such as 500ms (default: 5s)",
    ),
    Option(names=("stats",), help="print the statistics once"),
)


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(arguments: Arguments, options: GlobalOptions) -> int:
    interval = duration(arguments.get("interval", "5s"))
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0", hint="such as --interval 5s")
    store = Store(options.root)
    state = store.load(arguments.positional[0])
    if status_of(state, store.directory(state.id)) == STOPPED:
        raise StateError(f"container with id {state.id} is not running")
    if arguments.flag("stats"):
        _print(state, "stats", read_statistics(state.cgroup_paths))
        return 0
    try:
        init = open_process(state.pid, state.pid_start_time)
    except ProcessLookupError:
        raise StateError(f"container with id {state.id} is not running") from None
    _follow(state, init, interval)
    return 0


def duration(text: str) -> float:
    """Seconds, from a duration in Go's form: "5s", "100ms", "1m30s".

    Raises:
        UsageError: it is not one.
    """
    total, rest = 0.0, text
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = next((unit for unit in ("ns", "us", "µs", "ms", "s", "m", "h") if rest.startswith(unit)), "")
        if not unit or digits.count(".") > 1 or not digits.strip("."):
            raise UsageError(
                f'invalid value "{text}" for flag -interval: parse error', hint="such as 5s or 100ms"
            )
        total += float(digits) * _UNITS[unit]
        rest = rest[len(unit) :]
    return total


def _follow(state: ContainerState, init: int, interval: float) -> None:
    """Print until the init has ended."""
    watch = OomWatch(state.cgroup_paths)
    poll = select.poll()
    poll.register(init, select.POLLIN)
    if watch.descriptor >= 0:
        poll.register(watch.descriptor, watch.events)
    due = time.monotonic() + interval
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)]
        if watch.descriptor in ready:
            for _ in range(watch.count()):
                _print(state, "oom", None)
        if init in ready:
            return
        if time.monotonic() >= due:
            due += interval
            _print(state, "stats", read_statistics(state.cgroup_paths))


def _print(state: ContainerState, kind: str, data: object) -> None:
    document = {"type": kind, "id": state.id, **({"data": data} if data is not None else {})}
    write_output(dumps(document) + "\n")


class OomWatch:
    """A descriptor that becomes ready when the kernel kills a process of a cgroup for its memory.

    v1: an eventfd on memory.oom_control.  v2: memory.events, whose changes the kernel announces as priority data.
    Without a memory controller `descriptor` is -1.
    """

    def __init__(self, paths: dict[str, str]) -> None:
        self.descriptor, self.events, self._seen = -1, select.POLLIN, 0
        if "memory" in paths:
            self._watch_v1(paths["memory"])
        elif "" in paths and os.path.exists(f"{paths['']}/memory.events"):
            self.descriptor = os.open(f"{paths['']}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
            self.events = select.POLLPRI
            self._seen = self._kills()
        self._unified = "memory" not in paths

    def _watch_v1(self, directory: str) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC)
        control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(f"{directory}/cgroup.event_control", "wb", buffering=0) as file:
                file.write(f"{self.descriptor} {control}".encode())
        finally:
            os.close(control)

    def count(self) -> int:
        """How many kills (v2) or times without memory (v1) there were since the last call."""
        if not self._unified:
            # Removing the cgroup fires the eventfd as well; the caller sees the end of the init then.
            return min(os.eventfd_read(self.descriptor), 1)
        before, self._seen = self._seen, self._kills()
        return self._seen - before

    def _kills(self) -> int:
        try:
            words = os.pread(self.descriptor, 4096, 0).decode().split()
        except OSError:
            return self._seen  # the cgroup has gone: systemd removes its units' as soon as they are empty
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
