"""Whatever a record can hold survives the way through JSON, and no document makes the decoder stumble."""

import json
from collections.abc import Callable
from types import GenericAlias, NoneType, UnionType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyruntime.base.decode import decode, encode, json_name
from pyruntime.base.errors import SpecError
from pyruntime.base.integers import BOUNDS
from pyruntime.base.jsonio import dumps, loads
from pyruntime.base.record import Record, fields_of
from pyruntime.spec.config import Config
from pyruntime.spec.explain import schema_faults
from pyruntime.spec.rules import broken_rules

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3)
)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """The values that a field may have."""
    if isinstance(annotation, UnionType):
        inside = next(part for part in annotation.__args__ if part is not NoneType)
        return st.none() | values(inside)
    if isinstance(annotation, GenericAlias):
        if annotation.__origin__ is tuple:
            return st.lists(values(annotation.__args__[0]), max_size=2).map(tuple)
        return st.dictionaries(TEXT, values(annotation.__args__[1]), max_size=2)
    if annotation in BOUNDS:
        return st.integers(*BOUNDS[annotation])
    if annotation is str:
        return TEXT
    return st.booleans() if annotation is bool else records(annotation)


def records(cls: type[Record]) -> st.SearchStrategy[Record]:
    required = {name: values(kind) for name, kind in fields_of(cls).items() if not hasattr(cls, name)}
    optional = {name: values(kind) for name, kind in fields_of(cls).items() if hasattr(cls, name)}
    return st.fixed_dictionaries(required, optional=optional).map(lambda given_: cls(**given_))


def misshapen(cls: type[Record]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the properties of a record, in which anything may be anything."""
    return st.fixed_dictionaries(
        {}, optional={json_name(name): JSON | shape(kind) for name, kind in fields_of(cls).items()}
    )


def shape(annotation: Any) -> st.SearchStrategy[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return misshapen(annotation)
    for part in getattr(annotation, "__args__", ()):
        if isinstance(part, type) and issubclass(part, Record):
            inside = misshapen(part)
            if getattr(annotation, "__origin__", None) is tuple:
                return st.lists(JSON | inside, max_size=2)
            return (
                st.dictionaries(TEXT, JSON | inside, max_size=2)
                if isinstance(annotation, GenericAlias)
                else inside
            )
    return JSON


@settings(max_examples=150, deadline=None)
@given(st.deferred(lambda: records(Config)))
def test_a_config_survives_the_way_through_json(config: Config) -> None:
    text = dumps(encode(config))
    assert json.loads(text) == encode(config)
    assert decode(Config, loads(text)) == config


@settings(max_examples=200, deadline=None)
@given(st.deferred(lambda: JSON | misshapen(Config)))
def test_any_document_is_decoded_or_refused_with_a_place_and_a_hint(document: Any) -> None:
    try:
        faults = broken_rules(decode(Config, document))
    except SpecError as fault:
        faults = [fault]
    assert all(fault.where.startswith("/") and fault.hint for fault in faults)


@settings(max_examples=30, deadline=None)
@given(st.deferred(lambda: misshapen(Config)))
def test_any_document_can_be_explained(document: Any) -> None:
    assert all(fault.where.startswith("/") for fault in schema_faults(document))


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_writing_and_reading_agree_with_json(value: Any) -> None:
    assert dumps(value) == json.dumps(value, separators=(",", ":"))
    assert loads(dumps(value, indent=2)) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_read_as_json_reads_them_or_refused(data: bytes) -> None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    def outcome(read: Callable[[], object]) -> tuple[object]:
        try:
            return (read(),)
        except (ValueError, SpecError):
            return ("refused, which no document of at most 40 bytes decodes to",)

    assert outcome(lambda: loads(data)) == outcome(
        lambda: json.loads(data.decode("utf-8"), parse_constant=refuse)
    )
