"""JSON to records and back, driven by the records' annotations."""

from types import GenericAlias, NoneType, UnionType

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    RecordType = TypeVar("RecordType", bound=Record)
    Decoder = Callable[[Any, str], Any]

# Field names whose JSON name is not their camelCase.
_IRREGULAR = {
    "container_id": "containerID",
    "host_id": "hostID",
    "class_id": "classID",
    "clos_id": "closID",
    "disable_oom_killer": "disableOOMKiller",
    "kernel_tcp": "kernelTCP",
    "block_io": "blockIO",
    "exec_cpu_affinity": "execCPUAffinity",
    "throttle_read_iops_device": "throttleReadIOPSDevice",
    "throttle_write_iops_device": "throttleWriteIOPSDevice",
    "l3_cache_schema": "l3CacheSchema",
    "class_": "class",
    "enable_cmt": "enableCMT",
    "enable_mbm": "enableMBM",
    "interface_id": "interfaceID",
}
_TYPE_NAMES = {
    bool: "a boolean",
    int: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}

_decoders: "dict[type[Record], tuple[tuple[str, str, Decoder, bool], ...]]" = {}


def json_name(field: str) -> str:
    """The name in JSON of a record's field."""
    irregular = _IRREGULAR.get(field)
    if irregular is not None:
        return irregular
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)


def decode(cls: "type[RecordType]", value: object, where: str = "") -> "RecordType":
    """Make a record of a JSON object; `where` is its JSON pointer.

    Unknown properties are ignored, as the spec demands; null counts as absent, as in the field's other runtimes.

    Raises:
        SpecError: a required property is missing, or one has the wrong type.
    """
    if not isinstance(value, dict):
        raise _mismatch("an object", value, where)
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
    if annotation in (int, str, bool):
        return _scalar_decoder(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        record = annotation
        return lambda value, where: decode(record, value, where)
    raise TypeError(f"records cannot hold {annotation!r}")


def _scalar_decoder(kind: type) -> "Decoder":
    def decode_scalar(value: object, where: str) -> object:
        if type(value) is not kind:
            raise _mismatch(_TYPE_NAMES[kind], value, where)
        return value

    return decode_scalar


def _tuple_decoder(item: "Decoder") -> "Decoder":
    def decode_tuple(value: object, where: str) -> object:
        if not isinstance(value, list):
            raise _mismatch("a list", value, where)
        return tuple([item(entry, f"{where}/{index}") for index, entry in enumerate(value)])

    return decode_tuple


def _dict_decoder(item: "Decoder") -> "Decoder":
    def decode_dict(value: object, where: str) -> object:
        if not isinstance(value, dict):
            raise _mismatch("an object", value, where)
        return {key: item(entry, f"{where}/{escape(key)}") for key, entry in value.items()}

    return decode_dict


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _mismatch(expected: str, value: object, where: str) -> SpecError:
    found = _TYPE_NAMES.get(type(value), type(value).__name__)
    return SpecError(
        f"expected {expected}, found {found}", where=where or "/", hint=f"write {expected} there"
    )
