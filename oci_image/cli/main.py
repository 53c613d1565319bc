"""The command line of oci-image.

Exit codes: 0 done, 1 expected failure, 2 bad command line, 3 wrong bytes, 4 a registry's refusal or silence, 70 bug,
128+n stopped by signal n.  docs/compatibility-images.md explains them.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from types import FrameType, ModuleType

# A verb's module is imported when the verb is called for: mounting a bundle takes less time than the rest's imports.
VERBS = {
    "build": "build",
    "catalog": "catalog",
    "commit": "repack",
    "completion": "completion",
    "config": "config",
    "copy": "copying",
    "delete": "deleting",
    "diff": "diff",
    "export": "exporting",
    "flatten": "squash",
    "gc": "collecting",
    "history": "history",
    "images": "listing",
    "import": "importing",
    "init": "init",
    "insert": "insert",
    "inspect": "inspecting",
    "list": "listing",
    "list-tags": "listing_tags",
    "load": "loading",
    "login": "login",
    "logout": "logout",
    "ls": "listing",
    "manifest": "manifest",
    "manifest-digest": "manifest_digest",
    "mount": "mounting",
    "new": "new",
    "pull": "pulling",
    "push": "pushing",
    "raw": "raw",
    "remove": "removing",
    "repack": "repack",
    "rm": "removing",
    "rmi": "removing",
    "save": "saving",
    "search": "search",
    "snapshots": "snapshots",
    "squash": "squash",
    "stat": "stating",
    "sync": "sync",
    "tag": "tagging",
    "umount": "unmounting",
    "unmount": "unmounting",
    "unpack": "unpack",
    "verify": "verifying",
}


class _StoppedError(BaseException):
    """A signal asked the program to end; not an Exception, so that nothing takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--snapshot" in argv and _unpack_known(argv):
        return 0
    return _run(argv)


def _unpack_known(argv: list[str]) -> bool:
    """Make a further bundle of a known image; False if the usual way is to be taken."""
    from oci_image.errors import SnapshotError
    from oci_image.snapshots.known import unpack_known

    try:
        said = unpack_known(argv)
    except (OSError, SnapshotError):
        return False  # the usual way finds the words
    if said is None:
        return False
    sys.stdout.write(said)
    return True


def _run(argv: list[str]) -> int:
    import signal

    from oci_image.cli.output import Output
    from pyruntime.base.errors import ExpectedError, UsageError

    wanted = next((word for word in argv if not word.startswith("-")), "")
    known = wanted in VERBS or argv[:1] == ["--version"]
    verbs = {name: _verb(name) for name in VERBS if name == wanted or not known}
    arguments = _parser(verbs).parse_args(argv)
    arguments.words = argv
    output = Output(as_json=arguments.json, quiet=arguments.quiet)
    before = {
        number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        code: int = verbs[arguments.verb].run(arguments, output)
        sys.stdout.flush()
    except ExpectedError as error:
        if arguments.debug:
            _print_traceback()
        output.error(f"{arguments.verb}: {error}", error.hint)
        return 2 if isinstance(error, UsageError) else error.exit_code
    except _StoppedError as stopped:
        output.error(f"{arguments.verb}: stopped by signal {signal.Signals(stopped.number).name}", "")
        return 128 + stopped.number
    except BrokenPipeError:
        return _without_reader()
    except Exception as error:  # a bug, whatever it is
        if arguments.debug:
            _print_traceback()
        what = f"{arguments.verb}: internal error: {type(error).__name__}: {error}"
        output.error(what, "this is a bug: report it with what --debug prints")
        return 70
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def _without_reader() -> int:
    """End as a program does that SIGPIPE ends: whoever reads the output has seen enough."""
    import os
    import signal

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # what is left in the buffer goes there at the end
    os.close(null)
    return 128 + signal.SIGPIPE


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _stop(number: int, _frame: FrameType | None) -> None:
    import signal

    # The first signal starts the clean-up, which the next ones must not cut short.
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise _StoppedError(number)


def _verb(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(f"oci_image.verbs.{VERBS[name]}")


def whole_parser() -> argparse.ArgumentParser:
    """The parser with every verb."""
    return _parser({name: _verb(name) for name in VERBS})


def _width() -> int:
    """Columns of the terminal, or what COLUMNS says."""
    import os

    try:
        return int(os.environ["COLUMNS"]) or 80
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    import argparse

    class Formatter(argparse.RawDescriptionHelpFormatter):
        """As wide as the terminal; asked otherwise, argparse loads shutil and its codecs for every option."""

        def __init__(self, prog: str) -> None:
            super().__init__(prog, width=_width() - 2)

    common = argparse.ArgumentParser(add_help=False, formatter_class=Formatter)
    common.add_argument("--debug", action="store_true", help="print a traceback with an error")
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument("--quiet", "-q", action="store_true", help="print no result")
    parser = argparse.ArgumentParser(
        prog="oci-image",
        formatter_class=Formatter,
        description="Tool for OCI images.",
        epilog="""\
oci-image VERB --help shows a verb's options.

exit codes: 0 done, 1 not done, 2 bad command line, 3 bytes that are not what was promised, 4 a registry
refused or is not there, 70 a bug, 128+n stopped by signal n""",
    )
    parser.add_argument("--version", action="version", version="oci-image 0.1")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, prog="oci-image")
    for name, module in modules.items():
        verb = verbs.add_parser(
            name,
            parents=[common],
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=Formatter,
        )
        module.add_options(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
