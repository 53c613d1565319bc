"""From argv to an exit code."""

import os
import sys

from pyruntime.base.errors import ExpectedError, HostError, UsageError
from pyruntime.cli.log import Log, format_error
from pyruntime.cli.options import GLOBAL_OPTIONS, parse, parse_globals, parse_verb
from pyruntime.verbs import VERBS
from pyruntime.verbs.interface import Arguments, GlobalOptions, write_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

EXEC_FAILED = 255
UNKNOWN_VERB = 3
INTERRUPTED = 130
# With these, as with runc, the program's name and the verb stand before the text on stderr.
_ANNOUNCED = frozenset({"create", "run", "restore", "exec"})


def main(argv: list[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name.  Returns the exit code, never raises."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _main(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except ExpectedError as error:
        Log().error(str(error), str(error), error.hint)
        return 1


def _main(words: list[str]) -> int:
    try:
        arguments = parse(words, GLOBAL_OPTIONS, stop_at_positional=True)
        if not arguments.positional or arguments.flag("version") or arguments.flag("help"):
            return _answer(arguments)
        options = parse_globals(arguments, os.environ)
    except UsageError as error:
        return _refuse(error, "", Log())
    log = Log.of(options)
    options.warn, options.trace = log.warning, log.debug
    verb, *rest = arguments.positional
    if verb in ("help", "h"):
        return _print_help(rest[0] if rest else "")
    if verb not in VERBS:
        text = f"No help topic for '{verb}'"
        log.error(text, text, "pyruntime --help lists the verbs")
        return UNKNOWN_VERB
    return _run_verb(verb, rest, options, log)


def _run_verb(verb: str, words: list[str], options: GlobalOptions, log: Log) -> int:
    container_id = ""
    try:
        name, least, _ = VERBS[verb]
        module = sys.modules.get(name) or _load(name)
        try:
            arguments = parse_verb(verb, words, module.OPTIONS)
        except UsageError as error:
            return _refuse(error, verb, log)
        if arguments.flag("help"):
            return _print_help(verb)
        if least:
            container_id = arguments.positional[0]
        code: int = module.run(arguments, options)
    except (KeyboardInterrupt, BrokenPipeError, SystemExit):
        raise
    except BaseException as error:
        _report(verb, container_id, error, options, log)
        return EXEC_FAILED if verb == "exec" else 1
    return code


def _load(name: str) -> "ModuleType":
    __import__(name)
    return sys.modules[name]


def _report(verb: str, container_id: str, error: BaseException, options: GlobalOptions, log: Log) -> None:
    hint = error.hint if isinstance(error, ExpectedError) else ""
    if not isinstance(error, ExpectedError):
        if options.debug:
            _trace(error, log)
        what = (
            f"internal error: {type(error).__name__}: {error}; please report it; --debug shows the traceback"
        )
        error = ExpectedError(what)
    text = format_error(verb, container_id, error)
    bare = f"pyruntime {verb} failed: {text.removeprefix(verb).lstrip(': ')}" if verb in _ANNOUNCED else text
    log.error(text, bare, hint)


def _refuse(error: UsageError, verb: str, log: Log) -> int:
    """Help on stdout, the reason in the log and on stderr, in runc's words."""
    heading = "Incorrect Usage." if "argument(s)" in error.what else f"Incorrect Usage: {error.what}"
    try:
        write_output(f"{heading}\n\n")
        _print_help(verb)
    except HostError as closed:
        log.debug(str(closed))
    log.error(error.what, error.what, error.hint)
    return 1


def _trace(error: BaseException, log: Log) -> None:
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        log.debug(line)


def _answer(arguments: Arguments) -> int:
    from pyruntime.cli.help import program_help, version_text

    write_output(version_text() if arguments.flag("version") else program_help())
    return 0


def _print_help(verb: str) -> int:
    from pyruntime.cli.help import program_help, verb_help

    write_output(verb_help(verb) if verb in VERBS else program_help())
    return 0
