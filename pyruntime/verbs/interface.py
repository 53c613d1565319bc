"""What a verb is given: its parsed arguments and the options before it; and where its answer goes."""

import os

from pyruntime.base.errors import HostError, UsageError, errno_text
from pyruntime.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, KeysView


_STDOUT = 1
_SET = ["true"]


class Option(Record):
    """One option: `names` without dashes, the long one first; `value` if it takes one."""

    names: tuple[str, ...]
    value: bool = False
    repeat: bool = False
    help: str = ""
    default: str = ""
    metavar: str = "value"
    hidden: bool = False

    @property
    def name(self) -> str:
        """The name by which `Arguments` knows it."""
        return self.names[0]


class Arguments:
    """The arguments of a verb, options under their first names."""

    __slots__ = ("_values", "positional")

    def __init__(self, positional: list[str], values: dict[str, list[str]]) -> None:
        self.positional = positional
        self._values = values

    def get(self, name: str, default: str = "") -> str:
        """The value of an option; the last one if it was given several times."""
        given = self._values.get(name)
        return given[-1] if given else default

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a repeatable option, in order."""
        return tuple(self._values.get(name, ()))

    def flag(self, name: str) -> bool:
        """Whether an option without value was given (and not as --name=false)."""
        return self._values.get(name) == _SET

    def given(self, name: str) -> bool:
        """Whether the option stands on the command line."""
        return name in self._values

    def names(self) -> "KeysView[str]":
        """The first names of all options that stand on the command line."""
        return self._values.keys()

    def number(self, name: str, default: int = 0) -> int:
        """The value of an option as a decimal number, not negative.

        Raises:
            UsageError: it is not one.
        """
        text = self.get(name)
        if not text:
            return default
        if not text.isascii() or not text.isdigit():
            raise UsageError(f'invalid value "{text}" for flag -{name}: parse error', hint="write a number")
        return int(text)


def _ignore(_text: str) -> None:
    return


class GlobalOptions:
    """The options before the verb.

    `root` is absolute; `warn` and `trace` take a line for the log; `trace_path` is the file for the timeline, or "".
    """

    __slots__ = (
        "cgroup_manager", "debug", "log", "log_format", "root", "rootless", "systemd_cgroup", "trace",
        "trace_path", "warn",
    )  # fmt: skip

    def __init__(
        self,
        *,
        root: str = "/run/pyruntime",
        log: str = "",
        log_format: str = "text",
        debug: bool = False,
        systemd_cgroup: bool = False,
        cgroup_manager: str = "cgroupfs",
        rootless: str = "auto",
        trace_path: str = "",
    ) -> None:
        self.root = root
        self.log = log
        self.log_format = log_format
        self.debug = debug
        self.systemd_cgroup = systemd_cgroup
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.trace_path = trace_path
        self.warn: Callable[[str], None] = _ignore
        self.trace: Callable[[str], None] = _ignore

    @property
    def report_steps(self) -> bool:
        """Whether somebody wants to know of each step of a plan, and how long it took."""
        return self.debug or bool(self.trace_path)


def absolute_path(path: str) -> str:
    """A path that a caller names, from the root.

    Raises:
        HostError: it counts from the working directory, and that has been removed.
    """
    if path.startswith("/"):
        return os.path.normpath(path)
    try:
        return os.path.abspath(path)
    except OSError as error:
        hint = "change to another working directory, or name absolute paths"
        raise HostError(f"getwd: {errno_text(error.errno or 0)}", where=path, hint=hint) from None


def write_output(text: str) -> None:
    """Write what the verb was asked for to standard output; bytes that came in undecodable go out unchanged.

    Raises:
        BrokenPipeError: nobody reads it any more.
        HostError: it is closed, or what is behind it is full.
    """
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HostError(f"write /dev/stdout: {errno_text(error.errno or 0)}") from None
