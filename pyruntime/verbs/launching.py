"""What create, run and exec share of the command line: descriptors and the console."""

import os

from pyruntime.base.errors import UsageError, errno_text
from pyruntime.base.jsonio import dumps
from pyruntime.host.facts import bounding_capabilities
from pyruntime.plan.capabilities import unavailable_capabilities
from pyruntime.plan.launch import LaunchPlan
from pyruntime.plan.tolerated import tolerated
from pyruntime.spec.annotations import PIDFD_RECEIVER
from pyruntime.spec.config import Config, Process
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyruntime.verbs.creation import Prepared

BUNDLE = Option(
    names=("bundle", "b"), value=True, metavar="DIR", help="the bundle (default: the current directory)"
)
CONSOLE_SOCKET = Option(
    names=("console-socket",), value=True, metavar="PATH", help="send the terminal's master over this socket"
)
PIDFD_SOCKET = Option(
    names=("pidfd-socket",), value=True, metavar="PATH", help="send a pidfd of the process over this socket"
)
PID_FILE = Option(
    names=("pid-file",), value=True, metavar="FILE", help="write the pid of the container's process there"
)
PRESERVE_FDS = Option(
    names=("preserve-fds",),
    value=True,
    metavar="N",
    help="keep N descriptors after the standard streams open",
)
LAUNCH_OPTIONS = (
    BUNDLE,
    Option(
        names=("config", "f"), value=True, metavar="FILE", help="config.json (default: that of the bundle)"
    ),
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Option(names=("no-pivot",), help="move the root instead of pivot_root (for an initramfs)"),
    Option(names=("no-new-keyring",), help="keep the caller's session keyring"),
    PRESERVE_FDS,
    Option(names=("explain",), help="print the plan and do nothing"),
)


def listen_descriptors() -> int:
    """How many descriptors socket activation passes to this process (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    owner = os.environ.get("LISTEN_PID", "")
    if not count.isdigit() or (owner and owner != str(os.getpid())):
        return 0
    return int(count)


def require_descriptors(first: int, count: int) -> None:
    """Refuse to keep descriptors that are not open.

    Raises:
        UsageError: one of them is closed.
    """
    for descriptor in range(first, first + count):
        try:
            os.fstat(descriptor)
        except OSError:
            hint = "open it before, or lower --preserve-fds"
            raise UsageError(f"file descriptor {descriptor} to be preserved is not open", hint=hint) from None


def check_console(arguments: Arguments, *, terminal: bool, detached: bool) -> str:
    """The console socket's path, or "" for none.

    Raises:
        UsageError: terminal, socket and detaching do not fit together.
    """
    path = arguments.get("console-socket")
    if terminal and detached and not path:
        hint = "name one with --console-socket, or set process.terminal to false"
        raise UsageError(
            "cannot allocate tty if pyruntime will detach without setting console socket", hint=hint
        )
    if path and not (terminal and detached):
        hint = "leave --console-socket out, or set process.terminal to true and detach"
        raise UsageError("cannot use console socket if pyruntime will not detach or allocate tty", hint=hint)
    return path


def pidfd_receiver(arguments: Arguments, annotations: dict[str, str]) -> str:
    """The path of the socket that wants the pidfd, by option or annotation, or ""."""
    return arguments.get("pidfd-socket") or annotations.get(PIDFD_RECEIVER, "")


def pidfd_connection(arguments: Arguments, annotations: dict[str, str] | None = None) -> int:
    """A descriptor of the socket that wants the pidfd, by option or annotation, or -1.

    Raises:
        HostError: nobody listens there.
    """
    path = pidfd_receiver(arguments, annotations or {})
    if not path:
        return -1
    from pyruntime.execute.pidfd_socket import connect_pidfd_socket

    return connect_pidfd_socket(path)


def warn_of_tolerated(prepared: "Prepared", options: GlobalOptions) -> None:
    """Name what the config asks for and will not get, which is no error."""
    config = prepared.config
    warn_of_capabilities(config, config.process, options)
    if config.annotations or (config.linux is not None and config.linux.resources is not None):
        for line in tolerated(config, unified=set(prepared.plan.cgroup.paths) == {""}):
            options.warn(line)
    if prepared.plan.filter is not None:
        from pyruntime.execute.seccomp import cache_fault

        directory = f"{options.root}/.seccomp"
        if fault := cache_fault(directory):
            options.warn(
                f"seccomp filters are compiled anew each time, because {directory} is not used: {fault}"
            )


def warn_of_capabilities(config: Config, process: Process | None, options: GlobalOptions) -> None:
    """Name the capabilities that the process will not get, which is no error.  Source: config.md, Linux Process."""
    if process is None or process.capabilities is None:
        return
    # In a user namespace of its own a process has them all.
    has_all = config.linux is not None and config.linux.namespace("user") is not None
    bounding = (1 << 41) - 1 if has_all else bounding_capabilities()
    if names := unavailable_capabilities(process.capabilities, bounding):
        options.warn(f"ignoring unknown or unavailable capabilities: [{' '.join(names)}]")


def step_observer(options: GlobalOptions, plan: LaunchPlan) -> "Callable[[int, int], None] | None":
    """What is told of each step as it ends: under --debug the log, in the words of `explain`; with --trace a file."""
    if not options.report_steps:
        return None
    steps = plan.operations
    write = _timeline(options.trace_path, plan) if options.trace_path else None

    def observe(step: int, nanoseconds: int) -> None:
        operation = steps[step - 1]
        if write is not None:
            write(step, nanoseconds)
        if options.debug:
            origin = f"  {operation.origin}" if operation.origin else ""
            took = f"{nanoseconds / 1e6:.2f} ms"
            options.trace(f"step {step}/{len(steps)} {took}  {operation.describe()}{origin}")

    return observe


def _timeline(path: str, plan: LaunchPlan) -> "Callable[[int, int], None]":
    """Appends a line of JSON for each step: when it ended, in milliseconds since the first one began, and how long
    it took.  Steps that wait show what the parent did meanwhile.

    Raises:
        UsageError: the file cannot be written.
    """
    import time

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        what = f"cannot write the timeline {path}: {errno_text(error.errno or 0)}"
        raise UsageError(what, hint="name a file in a folder that you may write to") from None
    begin = time.monotonic_ns()

    def write(step: int, nanoseconds: int) -> None:
        operation = plan.operations[step - 1]
        entry = {
            "ended": round((time.monotonic_ns() - begin) / 1e6, 3),
            "took": round(nanoseconds / 1e6, 3),
            "step": step,
            "of": len(plan.operations),
            "operation": type(operation).__name__,
            "does": operation.describe(),
            "origin": operation.origin,
        }
        os.write(descriptor, dumps(entry).encode() + b"\n")

    return write
