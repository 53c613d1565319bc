"""pyruntime kill: send a signal to a container's process."""

import os

from pyruntime.base.errors import StateError, UsageError
from pyruntime.execute.cgroups import is_frozen, set_frozen, signal_all
from pyruntime.host.process import open_process, signal_process
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[--all] <container-id> [SIGNAL]"
OPTIONS = (Option(names=("all", "a"), help="signal every process of the container; a stopped one is no error"),)

_SIGKILL = 9
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
SIGNALS = {name: number for number, name in enumerate(_NAMES.split(), 1)} | {"IOT": 6, "POLL": 29, "CLD": 17}


def run(arguments: Arguments, options: GlobalOptions) -> int:
    words = arguments.positional
    signal = read_signal(words[1]) if len(words) > 1 else SIGNALS["TERM"]
    kill_container(Store(options.root), words[0], signal, every_process=arguments.flag("all"))
    return 0


def read_signal(text: str) -> int:
    """A signal from its number or name, with or without SIG, in any case; RTMIN+n and RTMAX-n too.

    Raises:
        UsageError: there is no such signal.
    """
    if text.isascii() and text.isdigit() and 0 <= int(text) <= 64:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name in SIGNALS:
        return SIGNALS[name]
    for prefix, base, sign in (("RTMIN", 34, 1), ("RTMAX", 64, -1)):
        offset = name.removeprefix(prefix).lstrip("+-") or "0"
        if name.startswith(prefix) and offset.isascii() and offset.isdigit() and int(offset) <= 30:
            return base + sign * int(offset)
    raise UsageError(f"unknown signal {text!r}", hint="write a number, or a name such as TERM or SIGTERM")


def kill_container(store: Store, container_id: str, signal: int, *, every_process: bool = False) -> None:
    """Signal the container's init, or all of its processes.

    Raises:
        StateError: there is no such container, or it is not running (unless `every_process`).
    """
    state = store.load(container_id)
    try:
        pidfd = open_process(state.pid, state.pid_start_time)
        try:
            if every_process or (signal == _SIGKILL and not state.has_own_pid_namespace):
                signal_all(state.cgroup_directories, signal)
            signal_process(pidfd, signal)
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        if not every_process:
            raise StateError("container not running", where=container_id) from None
        signal_all(state.cgroup_directories, signal)
    # A frozen process of cgroup v1 takes no signal, not even this one.
    if signal == _SIGKILL and is_frozen(state.cgroup_directories):
        set_frozen(state.cgroup_directories, False)
