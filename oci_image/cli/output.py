"""What verbs write with, as text or as JSON."""

from __future__ import annotations

import json
import sys

from pyruntime.base.errors import HostError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Output:
    """Results go to stdout, warnings and errors to stderr."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet

    def result(self, text: str, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """The verb's result, as a sentence and as data."""
        if self._as_json:
            sys.stdout.write(json.dumps(value) + "\n")
        elif not self._quiet:
            sys.stdout.write(text + "\n")

    def lines(self, lines: list[str], value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """A result of any number of lines, none included."""
        if lines or self._as_json:
            self.result("\n".join(lines), value)

    def ids(self, ids: list[str], value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """A result of which --quiet leaves the ids, for scripts."""
        if self._as_json:
            self.result("", value)
        elif ids:
            sys.stdout.write("\n".join(ids) + "\n")

    def raw(self, data: bytes) -> None:
        """A document's own bytes, with nothing added."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def write_file(self, path: str, text: str) -> None:
        """Something that the user wants in a file as well."""
        try:
            with open(path, "w", encoding="utf-8") as target:
                target.write(text)
        except OSError as error:
            raise HostError(f"cannot write: {errno_text(error.errno or 0)}", where=path) from None

    def warn(self, text: str) -> None:
        """Something was done differently than asked."""
        sys.stderr.write(f"oci-image: warning: {text}\n")

    def error(self, text: str, hint: str) -> None:
        """Why the verb failed."""
        sys.stderr.write(f"oci-image: {text}\n")
        if hint:
            sys.stderr.write(f"  hint: {hint}\n")
