"""The two ways in which a check ends early, and the comparisons that say what was seen instead."""


class BrokenError(Exception):
    """The runtime does not do what is required; the text says what was expected and what was seen."""


class UnavailableError(Exception):
    """This machine cannot show it; the text says what it lacks."""


def expect(holds: bool, what: str) -> None:
    """Raise `BrokenError` with `what`, a sentence about what was seen, unless it holds."""
    if not holds:
        raise BrokenError(what)


def expect_equal(seen: object, expected: object, what: str) -> None:
    if seen != expected:
        raise BrokenError(f"{what}: expected {expected!r}, saw {seen!r}")


def need(available: bool, what: str) -> None:
    """Raise `UnavailableError` unless the machine has what the sentence `what` says that it lacks."""
    if not available:
        raise UnavailableError(what)
