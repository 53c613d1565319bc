"""The exception tree of both programs.

    ExpectedError(what, where, hint)
        UsageError      a bad command line
        SpecError       config.json asks for something wrong; `where` is the JSON pointer
        StateError      the container is not in a state in which the verb makes sense
        HostError       the kernel, a privilege or a program is lacking on this host
        StepError       one step of a plan failed; quotes the step and the config entry behind it

Anything else that escapes is a bug.  Engines match the text of messages ("container does not exist",
"no such file or directory", ...), so `what` carries those words verbatim and a hint must never contain
one of them by accident; hints are therefore a separate field.
"""

import os


class ExpectedError(Exception):
    """Base of all expected failures.

    `what` failed; `where` is the JSON pointer, digest or path at fault; `hint` says how to fix it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.where})" if self.where else self.what


class UsageError(ExpectedError):
    """The command line cannot be understood."""


class SpecError(ExpectedError):
    """The configuration is wrong; `where` is a JSON pointer into config.json."""


class StateError(ExpectedError):
    """The container is in the wrong state for the verb, does not exist, or exists already."""


class HostError(ExpectedError):
    """This host lacks a kernel feature, a privilege or a program."""


class StepError(ExpectedError):
    """A step of a plan failed: `call` is the system call, `errno` what it answered (0: not a call)."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", call: str = "", errno: int = 0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.call = call
        self.errno = errno


def errno_text(errno: int) -> str:
    """The text of an errno in lower case, as callers of runc match it: "no such file or directory"."""
    text = os.strerror(errno)
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
