"""JSON without the json module, whose import costs more than most verbs take.

The scanner is the one that the json module itself uses, so what is accepted is the same; json is
imported only to say what is wrong with a document that was refused.
"""

from pyruntime.base.errors import HostError, SpecError, errno_text
from pyruntime.base.files import read_descriptor, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_DOCUMENT = 16 << 20
_SPACE = " \t\n\r"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


class _ScannerContext:
    """What `_json.make_scanner` asks of the decoder that it serves."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}


try:
    from _json import encode_basestring_ascii, make_scanner

    _quote: "Callable[[str], str]" = encode_basestring_ascii
    _scan: "Callable[[str, int], tuple[object, int]]" = make_scanner(_ScannerContext())  # type: ignore[arg-type]  # typeshed wants a JSONDecoder
except ImportError:
    # A static interpreter, in which _json would be a shared library.
    from pyruntime_launcher import json_quote as _quote
    from pyruntime_launcher import json_scan as _scan


def loads(data: bytes | str, *, where: str = "") -> object:
    """Read one JSON document; `where` names it in errors.

    Raises:
        SpecError: it is not JSON, not UTF-8, nested too deeply or larger than 16 MiB.
    """
    if len(data) > LARGEST_DOCUMENT:
        raise SpecError("JSON document is too large", where=where, hint="at most 16 MiB are read")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        start = len(text) - len(text.lstrip(_SPACE))
        value: object
        value, end = _scan(text, start)
        if end < len(text) and text[end:].strip(_SPACE):
            raise ValueError("data after the end")
    except (ValueError, StopIteration, SystemError):
        # SystemError: _json of Python 3.11 raises nothing at all as long as nobody has imported json.decoder.
        raise _explain(data, where) from None
    except RecursionError:
        raise SpecError("JSON document is nested too deeply", where=where, hint="flatten it") from None
    return value


def read_document(path: str) -> object:
    """The JSON document in a file that a caller names ("-": standard input).

    Raises:
        HostError: it cannot be read.
        SpecError: as from `loads`.
    """
    try:
        data = read_descriptor(0, LARGEST_DOCUMENT) if path == "-" else read_file(path, LARGEST_DOCUMENT)
    except OSError as error:
        call = "open" if error.filename else "read"
        raise HostError(f"{call} {path}: {errno_text(error.errno or 0)}") from None
    return loads(data, where=path)


def _explain(data: bytes | str, where: str) -> SpecError:
    import json

    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        hint = f"look at line {error.lineno}, column {error.colno}"
        return SpecError(f"invalid JSON: {error.msg[0].lower()}{error.msg[1:]}", where=where, hint=hint)
    except UnicodeDecodeError as error:
        return SpecError("invalid JSON: not UTF-8", where=where, hint=f"look at byte {error.start}")
    except ValueError as error:
        hint = "JSON knows neither NaN nor Infinity, and no number here has thousands of digits"
        return SpecError(f"invalid JSON: {error}", where=where, hint=hint)
    return SpecError("invalid JSON", where=where)


def dumps(value: object, *, indent: int = 0) -> str:
    """Write JSON: compact without `indent`, else one entry a line."""
    return _indented(value, indent, 1) if indent else _compact(value)


def _compact(value: object) -> str:
    # Most of what is written are strings: no call for each of them.
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, dict):
        entries = [
            f"{_quote(key)}:{_quote(item) if type(item) is str else _compact(item)}"
            for key, item in value.items()
        ]
        return "{" + ",".join(entries) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_quote(item) if type(item) is str else _compact(item) for item in value]) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _indented(value: object, indent: int, level: int) -> str:
    if not isinstance(value, dict | list | tuple) or not value:
        return _compact(value)
    if isinstance(value, dict):
        opening, closing = "{", "}"
        entries = [f"{_quote(key)}: {_indented(item, indent, level + 1)}" for key, item in value.items()]
    else:
        opening, closing = "[", "]"
        entries = [_indented(item, indent, level + 1) for item in value]
    space = "\n" + " " * (indent * level)
    return opening + space + ("," + space).join(entries) + "\n" + " " * (indent * (level - 1)) + closing
