"""Reads the command line by tables, as runc does: one dash or two, `--name value` or `--name=value`."""

import os

from pyruntime.base.errors import UsageError
from pyruntime.host.rootless import default_root
from pyruntime.verbs import STOP_AT_POSITIONAL, VERBS
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, absolute_path

HELP = Option(names=("help", "h"), help="show this help")

GLOBAL_OPTIONS = (
    Option(
        names=("root",),
        value=True,
        help="directory for the state of containers (default: /run/pyruntime, or the user's own)",
        metavar="DIR",
    ),
    Option(names=("log",), value=True, help="file that errors are appended to (else stderr)", metavar="FILE"),
    Option(
        names=("log-format",), value=True, help="text (default) or json", default="text", metavar="FORMAT"
    ),
    Option(names=("log-level",), value=True, help="error, warning or debug", metavar="LEVEL"),
    Option(names=("debug",), help="log each step, and the traceback of an internal error"),
    Option(
        names=("trace",), value=True, help="append the timeline of create, run and exec to it", metavar="FILE"
    ),
    Option(names=("systemd-cgroup",), help="let systemd make the cgroups"),
    Option(
        names=("cgroup-manager",),
        value=True,
        help="cgroupfs (default), systemd or disabled",
        metavar="MANAGER",
    ),
    Option(
        names=("rootless",), value=True, help="true, false or auto (default)", default="auto", metavar="WHEN"
    ),
    Option(names=("criu",), value=True, help="accepted and ignored", hidden=True),
    Option(names=("version", "v", "V"), help="print the version"),
    HELP,
)

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
# The first is what counts if nothing is said.
_CHOICES = {
    "log-format": ("text", "json"),
    "log-level": ("", "error", "warning", "debug"),
    "cgroup-manager": ("cgroupfs", "systemd", "disabled"),
    "rootless": ("auto", "true", "false"),
}


def parse(words: list[str], options: tuple[Option, ...], *, stop_at_positional: bool) -> Arguments:
    """Sort words into options and positional arguments; "--" ends the options.

    Raises:
        UsageError: an option is unknown, lacks its value, or has a value that it cannot have.
    """
    values: dict[str, list[str]] = {}
    positional: list[str] = []
    rest = words[::-1]
    while rest:
        word = rest.pop()
        if not word.startswith("-") or word == "-":
            positional.append(word)
            if stop_at_positional:
                positional += rest[::-1]
                break
            continue
        if word == "--":
            positional += rest[::-1]
            break
        dashes = 2 if word.startswith("--") else 1
        name, equals, value = word[dashes:].partition("=")
        option = _find(name, options)
        if option is not None:
            _take(option, name, value if equals else None, rest, values)
        elif dashes == 1 and not equals and (flags := _flags(name, options)):
            values |= {flag.name: ["true"] for flag in flags}
        else:
            raise UsageError(f"flag provided but not defined: -{name}")
    return Arguments(positional, values)


def _find(name: str, options: tuple[Option, ...]) -> Option | None:
    # A table of all names would take longer to make than the few words of a command line take to be found.
    for option in options:
        if name in option.names:
            return option
    return None


def _flags(letters: str, options: tuple[Option, ...]) -> list[Option]:
    """The flags of several letters behind one dash; none unless each letter is one."""
    flags = [option for letter in letters if (option := _find(letter, options)) and not option.value]
    return flags if len(flags) == len(letters) > 1 else []


def _take(
    option: Option, name: str, value: str | None, rest: list[str], values: dict[str, list[str]]
) -> None:
    if option.value:
        if value is None:
            if not rest:
                raise UsageError(f"flag needs an argument: -{name}")
            value = rest.pop()
    elif value is None or value in _TRUE:
        value = "true"
    elif value in _FALSE:
        value = "false"
    else:
        raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error')
    if option.repeat:
        values.setdefault(option.name, []).append(value)
    else:
        values[option.name] = [value]


def parse_verb(verb: str, words: list[str], options: tuple[Option, ...]) -> Arguments:
    """The arguments of a verb, their number checked, in runc's words.

    Raises:
        UsageError: they are not what the verb takes.
    """
    arguments = parse(words, (*options, HELP), stop_at_positional=verb in STOP_AT_POSITIONAL)
    if not arguments.flag("help"):
        _check_arity(verb, len(arguments.positional))
    return arguments


def _check_arity(verb: str, count: int) -> None:
    _, least, most = VERBS[verb]
    if least <= count and (most < 0 or count <= most):
        return
    if least == most:
        raise UsageError(f'pyruntime: "{verb}" requires exactly {least} argument(s)')
    if count < least:
        raise UsageError(f'pyruntime: "{verb}" requires a minimum of {least} argument(s)')
    raise UsageError(f'pyruntime: "{verb}" requires a maximum of {most} argument(s)')


def parse_globals(arguments: Arguments, environment: "os._Environ[str] | dict[str, str]") -> GlobalOptions:
    """The options before the verb, checked and completed.

    Raises:
        UsageError: one has a value that it cannot have.
    """
    if not _CHOICES.keys().isdisjoint(arguments.names()):
        _check_choices(arguments)
    root = absolute_path(arguments.get("root") or default_root(environment))
    if root == "/":
        raise UsageError("option --root argument should not be set to /", hint="name a directory of its own")
    systemd = arguments.flag("systemd-cgroup") or arguments.get("cgroup-manager") == "systemd"
    return GlobalOptions(
        root=root,
        log=_log_file(arguments.get("log")) if arguments.given("log") else "",
        log_format=arguments.get("log-format", "text"),
        debug=arguments.flag("debug") or arguments.get("log-level") == "debug",
        systemd_cgroup=systemd,
        cgroup_manager="systemd" if systemd else arguments.get("cgroup-manager", "cgroupfs"),
        rootless=arguments.get("rootless", "auto"),
        trace_path=arguments.get("trace"),
    )


def _check_choices(arguments: Arguments) -> None:
    for name, choices in _CHOICES.items():
        value = arguments.get(name, choices[0])
        if value not in choices:
            kind = name.replace("-", " ") if name == "cgroup-manager" else name
            raise UsageError(f"invalid {kind}: {value}", hint=f"one of: {', '.join(filter(None, choices))}")


def _log_file(value: str) -> str:
    """The path of the log file; crun's "file:" before it is allowed."""
    kind, colon, path = value.partition(":")
    if colon and kind == "file":
        return path
    if colon and kind in ("journald", "syslog"):
        raise UsageError(f"logging to {kind} is not available in this version", hint="name a file")
    return "" if value == "/dev/stderr" else value
