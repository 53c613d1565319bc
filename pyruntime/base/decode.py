"""JSON to records and back, driven by the records' annotations."""

from types import GenericAlias, NoneType, UnionType

from pyruntime.base.errors import SpecError
from pyruntime.base.integers import BOUNDS
from pyruntime.base.record import Record, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    RecordType = TypeVar("RecordType", bound=Record)
    Decoder = Callable[[Any, str], Any]

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

_decoders: "dict[type[Record], tuple[tuple[str, str, Decoder, bool], ...]]" = {}


def json_name(field: str) -> str:
    """The name in JSON of a record's field."""
    irregular = IRREGULAR_NAMES.get(field)
    if irregular is not None:
        return irregular
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)


def decode(cls: "type[RecordType]", value: object, where: str = "") -> "RecordType":
    """Make a record of a JSON object; `where` is its JSON pointer.

    Unknown properties are ignored, as the spec demands; null counts as absent, as in the field's other runtimes.

    Raises:
        SpecError: a required property is missing, or one has the wrong type or is out of its type's range.
    """
    if not isinstance(value, dict):
        raise mismatch(dict, value, where)
    fields = _decoders.get(cls)
    if fields is None:
        fields = _decoders[cls] = tuple(_plan_fields(cls))
    values: dict[str, object] = {}
    for field, name, decoder, required in fields:
        item = value.get(name)
        if item is not None:
            values[field] = decoder(item, f"{where}/{name}")
        elif required:
            raise SpecError(f"property {name!r} is missing", where=where or "/", hint=f'add "{name}"')
    return cls.trusted(values)


def encode(record: Record) -> dict[str, object]:
    """The JSON object of a record; fields that hold their default are left out."""
    result: dict[str, object] = {}
    for field in fields_of(type(record)):
        value = getattr(record, field)
        if not hasattr(type(record), field) or value != getattr(type(record), field):
            result[json_name(field)] = _encode_value(value)
    return result


def _encode_value(value: object) -> object:
    if isinstance(value, Record):
        return encode(value)
    if isinstance(value, tuple):
        return [_encode_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode_value(item) for key, item in value.items()}
    return value


def _plan_fields(cls: type[Record]) -> "list[tuple[str, str, Decoder, bool]]":
    return [
        (field, json_name(field), _decoder_for(annotation), not hasattr(cls, field))
        for field, annotation in fields_of(cls).items()
    ]


def _decoder_for(annotation: object) -> "Decoder":
    if isinstance(annotation, UnionType):
        return _decoder_for(next(part for part in annotation.__args__ if part is not NoneType))
    if isinstance(annotation, GenericAlias):
        item = _decoder_for(annotation.__args__[0 if annotation.__origin__ is tuple else 1])
        return _tuple_decoder(item) if annotation.__origin__ is tuple else _dict_decoder(item)
    if annotation in BOUNDS:
        return _integer_decoder(*BOUNDS[annotation])
    if annotation is str:
        return _decode_string
    if annotation is bool:
        return _decode_boolean
    if isinstance(annotation, type) and issubclass(annotation, Record):
        record = annotation
        return lambda value, where: decode(record, value, where)
    raise TypeError(f"records cannot hold {annotation!r}")


def _decode_string(value: object, where: str) -> object:
    if type(value) is not str:
        raise mismatch(str, value, where)
    if "\0" in value:
        hint = "remove the \\u0000: the kernel ends every string there"
        raise SpecError("a string contains a NUL character", where=where or "/", hint=hint)
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            hint = "write the character itself, or both halves of the pair"
            raise SpecError("a string contains half a character", where=where or "/", hint=hint) from None
    return value


def _decode_boolean(value: object, where: str) -> object:
    if type(value) is not bool:
        raise mismatch(bool, value, where)
    return value


def _integer_decoder(lowest: int, highest: int) -> "Decoder":
    def decode_integer(value: object, where: str) -> object:
        if type(value) is not int:  # a boolean is none, though Python says so
            raise mismatch(int, value, where)
        if not lowest <= value <= highest:
            raise SpecError(f"{value} is out of range", where=where, hint=f"use {lowest} to {highest}")
        return value

    return decode_integer


def _tuple_decoder(item: "Decoder") -> "Decoder":
    def decode_tuple(value: object, where: str) -> object:
        if not isinstance(value, list):
            raise mismatch(list, value, where)
        return tuple([item(entry, f"{where}/{index}") for index, entry in enumerate(value)])

    return decode_tuple


def _dict_decoder(item: "Decoder") -> "Decoder":
    def decode_dict(value: object, where: str) -> object:
        if not isinstance(value, dict):
            raise mismatch(dict, value, where)
        return {key: item(entry, f"{where}/{escape(key)}") for key, entry in value.items()}

    return decode_dict


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def mismatch(expected: type, value: object, where: str) -> SpecError:
    """The error for a value of the wrong type; `expected` is the type that the scanner makes of the right one."""
    found = _TYPE_NAMES.get(type(value), type(value).__name__)
    what = f"expected {_TYPE_NAMES[expected]}, found {found}"
    return SpecError(what, where=where or "/", hint=_EXAMPLES[expected])
