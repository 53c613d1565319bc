"""pyruntime kill: signal a container's init, or all of its processes."""

import os

from pyruntime.base.errors import ExpectedError, StateError, UsageError
from pyruntime.host.freezer import is_frozen
from pyruntime.host.process import open_process, signal_process
from pyruntime.store.state import ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

USAGE = "[--all] <container-id> [signal (default: TERM)]"
OPTIONS: tuple[Option, ...] = (
    Option(names=("all", "a"), help="signal every process of the container; a stopped one is no error"),
    Option(names=("regex", "r"), help="the id is a regular expression: signal each container that matches"),
)

_NOT_RUNNING = "container not running"
_LARGEST = 64
_SIGKILL = 9


def run(arguments: Arguments, options: GlobalOptions) -> int:
    store = Store(options.root)
    container_id, *rest = arguments.positional
    signal = signal_number(rest[0] if rest else "TERM")
    chosen = matching_ids(store, container_id) if arguments.flag("regex") else [container_id]
    for each in chosen:
        kill_container(store, each, signal, every_process=arguments.flag("all"))
    return 0


def signal_number(text: str) -> int:
    """The number of a signal: "9", "KILL", "SIGKILL", "kill", "SIGRTMIN+3", "RTMAX-1".

    Raises:
        UsageError: there is no such signal.
    """
    if text.isascii() and text.isdigit() and int(text) <= _LARGEST:
        return int(text)
    name = text.upper().removeprefix("SIG")
    sign = "-" if name.startswith("RTMAX") else "+"
    name, has_offset, offset = name.partition(sign)
    number = getattr(_signal, f"SIG{name}", None)
    if name.isalnum() and isinstance(number, int):
        if not has_offset:
            return int(number)
        if name in ("RTMIN", "RTMAX") and offset.isascii() and offset.isdigit():
            number += int(sign + offset)
            if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX:
                return number
    raise UsageError(f'unknown signal "{text}"', hint="a number up to 64, or a name such as TERM or SIGTERM")


def kill_container(store: Store, container_id: str, signal: int, *, every_process: bool = False) -> None:
    """Send a signal to the container's init, or to each of its processes.

    SIGKILL goes to all processes also if the init's death alone would not end them.

    Raises:
        StateError: there is no such container, or it is not running (no error with `every_process`).
        HostError: the signal may not be sent.
    """
    state = store.load(container_id)
    if not every_process:
        signal_init(state, signal)
    elif state.pid:
        # Of a container that has no process yet the cgroup may still be somebody else's.
        _signal_cgroup(state, signal)


def signal_init(state: ContainerState, signal: int) -> None:
    """Signal the init, beyond doubt the one that was started; after SIGKILL a frozen cgroup is thawed.

    Raises:
        StateError: it has ended, or there is none yet.
        HostError: the signal may not be sent.
    """
    try:
        descriptor = open_process(state.pid, state.pid_start_time)
        try:
            signal_process(descriptor, signal)
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        raise StateError(_NOT_RUNNING, where=state.id) from None
    if signal == _SIGKILL:
        if not state.has_own_pid_namespace:
            _signal_cgroup(state, signal)
        thaw(state)


def _signal_cgroup(state: ContainerState, signal: int) -> None:
    from pyruntime.execute.cgroups import signal_all

    signal_all(state.cgroup_directories, signal)
    if signal == _SIGKILL:
        thaw(state)


def thaw(state: ContainerState) -> None:
    """Let killed processes of a frozen cgroup die; in cgroup v1 they would stay for ever."""
    if not is_frozen(state.cgroup_paths):
        return
    from pyruntime.execute.cgroups import set_frozen

    try:
        set_frozen(state.cgroup_directories, frozen=False)
    except (ExpectedError, OSError):
        # The cgroup may be gone already: then there is nothing to thaw.
        return


def matching_ids(store: Store, pattern: str) -> list[str]:
    """The ids in which a regular expression is found, as crun's --regex has it."""
    import re

    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"invalid regular expression: {error}", where=pattern) from None
    return [container_id for container_id in store.list_ids() if compiled.search(container_id)]
