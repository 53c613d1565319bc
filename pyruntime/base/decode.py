"""JSON to records and back, driven by the records' annotations."""

from types import GenericAlias, NoneType, UnionType

from pyruntime.base.errors import SpecError
from pyruntime.base.integers import BOUNDS
from pyruntime.base.record import Record, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, TypeVar

    RecordType = TypeVar("RecordType", bound=Record)
    Decoder = Callable[[Any], Any]

# Field names whose JSON name is not their camelCase.
IRREGULAR_NAMES = {
    "block_io": "blockIO",
    "class_id": "classID",
    "clos_id": "closID",
    "container_id": "containerID",
    "disable_oom_killer": "disableOOMKiller",
    "exec_cpu_affinity": "execCPUAffinity",
    "host_id": "hostID",
    "kernel_tcp": "kernelTCP",
    "throttle_read_iops_device": "throttleReadIOPSDevice",
    "throttle_write_iops_device": "throttleWriteIOPSDevice",
}
# What JSON calls a value, and how to write one.
_TYPE_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a fraction",
    str: "a string",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}
_EXAMPLES = {
    bool: "write true or false, without quotes",
    int: "write a whole number, without quotes and exponent",
    str: 'write it in double quotes: "..."',
    list: "write it in brackets: [...]",
    dict: "write it in braces: {...}",
}

_NO_DEFAULT = object()
# Types whose values JSON takes as they are.
_PLAIN = frozenset({bool, int, float, str, NoneType})
# By field: those that are known by now.
_json_names = dict(IRREGULAR_NAMES)
# By class: how to decode each property, by its JSON name, and which fields must be there.
_decoders: "dict[type[Record], tuple[dict[str, tuple[str, Decoder]], frozenset[str]]]" = {}


def json_name(field: str) -> str:
    """The name in JSON of a record's field."""
    name = _json_names.get(field)
    if name is None:
        first, *rest = field.split("_")
        name = _json_names[field] = first + "".join(part.capitalize() for part in rest)
    return name


def decode(cls: "type[RecordType]", value: object, where: str = "") -> "RecordType":
    """Make a record of a JSON object; `where` is its JSON pointer.

    Unknown properties are ignored, as the spec demands; null counts as absent, as in the field's other runtimes.

    Raises:
        SpecError: a required property is missing, or one has the wrong type or is out of its type's range.
    """
    try:
        return _decode_record(cls, value)
    except SpecError as error:
        error.where = f"{where}{error.where}" or "/"
        raise


def _decode_record(cls: "type[RecordType]", value: object) -> "RecordType":
    # Pointers are made for errors only, from the inside out: each that one passes on its way adds where that was.
    if not isinstance(value, dict):
        raise mismatch(dict, value)
    fields, required = _decoders.get(cls) or _learn_fields(cls)
    values: dict[str, object] = {}
    name = ""
    try:
        for name, item in value.items():
            known = fields.get(name)
            if known is not None and item is not None:
                field, decoder = known
                values[field] = decoder(item)
    except SpecError as error:
        _note(name, error)
        raise
    if not values.keys() >= required:
        name = next(name for name, (field, _) in fields.items() if field in required and field not in values)
        raise SpecError(f"property {name!r} is missing", hint=f'add "{name}"')
    return cls.trusted(values)


def encode(record: Record) -> dict[str, object]:
    """The JSON object of a record; fields that hold their default are left out."""
    cls = type(record)
    result: dict[str, object] = {}
    # What was not given holds its default.
    for field, value in vars(record).items():
        if value != getattr(cls, field, _NO_DEFAULT):
            result[json_name(field)] = value if type(value) in _PLAIN else encode_value(value)
    return result


def encode_value(value: object) -> object:
    """What JSON has for the value of a record's field."""
    if isinstance(value, Record):
        return encode(value)
    if isinstance(value, tuple):
        return [item if type(item) in _PLAIN else encode_value(item) for item in value]
    if isinstance(value, dict):
        return {key: item if type(item) in _PLAIN else encode_value(item) for key, item in value.items()}
    return value


def _learn_fields(cls: type[Record]) -> "tuple[dict[str, tuple[str, Decoder]], frozenset[str]]":
    fields = {
        json_name(field): (field, _decoder_for(annotation)) for field, annotation in fields_of(cls).items()
    }
    required = frozenset(field for field in fields_of(cls) if not hasattr(cls, field))
    _decoders[cls] = fields, required
    return fields, required


def _decoder_for(annotation: object) -> "Decoder":
    if isinstance(annotation, UnionType):
        return _decoder_for(next(part for part in annotation.__args__ if part is not NoneType))
    if isinstance(annotation, GenericAlias):
        item = _decoder_for(annotation.__args__[0 if annotation.__origin__ is tuple else 1])
        if item is _decode_string:
            return _decode_strings if annotation.__origin__ is tuple else _decode_string_values
        return _tuple_decoder(item) if annotation.__origin__ is tuple else _dict_decoder(item)
    if annotation in BOUNDS:
        return _integer_decoder(*BOUNDS[annotation])
    if annotation is str:
        return _decode_string
    if annotation is bool:
        return _decode_boolean
    if isinstance(annotation, type) and issubclass(annotation, Record):
        record = annotation
        return lambda value: _decode_record(record, value)
    raise TypeError(f"records cannot hold {annotation!r}")


def _decode_string(value: object) -> object:
    if type(value) is not str:
        raise mismatch(str, value)
    if "\0" in value:
        hint = "remove the \\u0000: the kernel ends every string there"
        raise SpecError("a string contains a NUL character", hint=hint)
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            hint = "write the character itself, or both halves of the pair"
            raise SpecError("a string contains half a character", hint=hint) from None
    return value


def _decode_strings(value: object) -> object:
    if type(value) is list and _are_plain(value):
        return tuple(value)
    return _tuple_decoder(_decode_string)(value)


def _decode_string_values(value: object) -> object:
    if type(value) is dict and _are_plain(value.values()):
        return dict(value)
    return _dict_decoder(_decode_string)(value)


def _are_plain(values: "Collection[object]") -> bool:
    """Whether all are strings with which nothing can be wrong; what is wrong with one is found one by one."""
    try:
        joined = "".join(values)  # type: ignore[arg-type]  # it is tried
    except TypeError:
        return False
    return joined.isascii() and "\0" not in joined


def _decode_boolean(value: object) -> object:
    if type(value) is not bool:
        raise mismatch(bool, value)
    return value


def _integer_decoder(lowest: int, highest: int) -> "Decoder":
    def decode_integer(value: object) -> object:
        if type(value) is not int:  # a boolean is none, though Python says so
            raise mismatch(int, value)
        if not lowest <= value <= highest:
            raise SpecError(f"{value} is out of range", hint=f"use {lowest} to {highest}")
        return value

    return decode_integer


def _tuple_decoder(item: "Decoder") -> "Decoder":
    def decode_tuple(value: object) -> object:
        if not isinstance(value, list):
            raise mismatch(list, value)
        entries: list[object] = []
        try:
            entries += map(item, value)
        except SpecError as error:
            _note(str(len(entries)), error)
            raise
        return tuple(entries)

    return decode_tuple


def _dict_decoder(item: "Decoder") -> "Decoder":
    def decode_dict(value: object) -> object:
        if not isinstance(value, dict):
            raise mismatch(dict, value)
        entries: dict[str, object] = {}
        key = ""
        try:
            for key, entry in value.items():
                entries[key] = item(entry)
        except SpecError as error:
            _note(escape(key), error)
            raise
        return entries

    return decode_dict


def _note(name: str, error: SpecError) -> None:
    error.where = f"/{name}{error.where}"


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def mismatch(expected: type, value: object, where: str = "") -> SpecError:
    """The error for a value of the wrong type; `expected` is the type that the scanner makes of the right one."""
    found = _TYPE_NAMES.get(type(value), type(value).__name__)
    what = f"expected {_TYPE_NAMES[expected]}, found {found}"
    return SpecError(what, where=where, hint=_EXAMPLES[expected])
