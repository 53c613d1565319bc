"""Where errors go: one line in the log file, and bare text as the last line of stderr.

podman reads the whole log file as one JSON object and go-runc refuses a line whose time is not RFC 3339, so
without --debug there is one line per invocation, and only if it fails.
"""

import os

from pyruntime.base.errors import ExpectedError
from pyruntime.base.jsonio import dumps
from pyruntime.base.timestamp import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.verbs.interface import GlobalOptions

_STDERR = 2


def format_error(verb: str, container_id: str, error: BaseException) -> str:
    """The text of an error: verb and container, what went wrong, and where (a path or a JSON pointer)."""
    subject = f"{verb} {container_id}" if container_id else verb
    what, where = str(error), ""
    if isinstance(error, ExpectedError):
        what, where = error.what, error.where
    # The id stands at the beginning already.
    return f"{subject}: {what} ({where})" if where and where != container_id else f"{subject}: {what}"


def text_line(level: str, message: str) -> str:
    """A line of the text log, quoted as logfmt is."""
    return f'time="{now()}" level={level} msg={dumps(message)}\n'


def json_line(level: str, message: str, hint: str = "") -> str:
    """A line of the JSON log; readers ignore the key `hint`."""
    entry = {"level": level, "msg": message, "time": now()}
    if hint:
        entry["hint"] = hint
    return dumps(entry) + "\n"


def write_text(descriptor: int, text: str) -> None:
    """Write text as it is; bytes that came in undecodable go out unchanged.  A closed stderr is no error."""
    try:
        os.write(descriptor, text.encode("utf-8", "surrogateescape"))
    except OSError:
        return


class Log:
    """The log of one invocation."""

    def __init__(self, *, path: str = "", json: bool = False, debug: bool = False) -> None:
        self._path = path
        self._json = json
        self._debug = debug

    @classmethod
    def of(cls, options: "GlobalOptions") -> "Log":
        """The log that the global options ask for."""
        return cls(path=options.log, json=options.log_format == "json", debug=options.debug)

    def error(self, message: str, bare: str, hint: str = "") -> None:
        """Report the failure: `message` to the log, `bare` as the last line of stderr.

        Without a log file a JSON log goes to stderr alone, as its reader expects nothing else there.
        """
        show_hint = bool(hint) and (self._debug or os.isatty(_STDERR))
        if self._path:
            self._append(self._line("error", message, hint))
        elif self._json:
            write_text(_STDERR, self._line("error", message, hint))
            return
        if show_hint:
            write_text(_STDERR, f"hint: {hint}\n")
        write_text(_STDERR, f"{bare}\n")

    def warning(self, message: str) -> None:
        """Say what was tolerated; a JSON log has warnings with --debug only."""
        if self._debug or not self._json:
            self._write("warning", message)

    def debug(self, message: str) -> None:
        """Say what is done, with --debug."""
        if self._debug:
            self._write("debug", message)

    def _write(self, level: str, message: str) -> None:
        if self._path:
            self._append(self._line(level, message))
        else:
            write_text(_STDERR, self._line(level, message))

    def _line(self, level: str, message: str, hint: str = "") -> str:
        return json_line(level, message, hint) if self._json else text_line(level, message)

    def _append(self, line: str) -> None:
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_SYNC, 0o644
            )
        except OSError:
            # The line on stderr is all that can be had then.
            return
        try:
            write_text(descriptor, line)
        finally:
            os.close(descriptor)
