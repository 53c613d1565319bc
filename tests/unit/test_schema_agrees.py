"""The records and the vendored schema know the same properties, and refuse the same documents."""

import hashlib
from pathlib import Path
from types import GenericAlias, NoneType, UnionType
from typing import Any

import pytest
from jsonschema import Draft4Validator

from pyruntime.base.decode import decode, escape, json_name
from pyruntime.base.errors import SpecError
from pyruntime.base.integers import BOUNDS
from pyruntime.base.record import Record, fields_of
from pyruntime.spec.config import Config
from pyruntime.spec.explain import config_schema
from tests.config_cases import ACCEPTED, cases, changed, read

SPECS = Path(__file__).resolve().parents[2] / "specs"
SCHEMA = config_schema()
# Windows: a user has a name there, and a command is one line.
FOREIGN = {"/process/user/username", "/process/commandLine"}
# Where the text of the specification says REQUIRED and the schema does not, or the other way round.
REQUIRED_BY_THE_TEXT = {"/linux/memoryPolicy/mode", "/linux/personality/domain"}
OPTIONAL_IN_PRACTICE = {"/linux/resources/pids/limit"}
# The schema allows permissions only; engines have long written the whole of st_mode there.
WIDER = {"/linux/devices/*/fileMode"}
# Integers to which the schema gives no width, or a lower bound that is a rule here.
PLAIN = ("/process/oomScoreAdj", "/timeout")


def properties(node: dict[str, Any]) -> dict[str, Any]:
    found = dict(node.get("properties", {}))
    for part in (*node.get("allOf", ()), *node.get("anyOf", ())):
        found.update(properties(part))
    return found


def required(node: dict[str, Any]) -> set[str]:
    found = set(node.get("required", ()))
    for part in (*node.get("allOf", ()), *node.get("anyOf", ())):
        found |= required(part)
    return found


def compare(annotation: Any, node: dict[str, Any], where: str) -> list[str]:
    """The differences between the type of a field and the schema's for the same property."""
    if isinstance(annotation, UnionType):
        return compare(next(part for part in annotation.__args__ if part is not NoneType), node, where)
    if isinstance(annotation, GenericAlias) and annotation.__origin__ is tuple:
        found = [] if node.get("type") == "array" else [f"{where}: a list here, {node.get('type')} there"]
        return found + compare(annotation.__args__[0], node.get("items", {}), f"{where}/*")
    if isinstance(annotation, GenericAlias):
        return compare_map(annotation.__args__[1], node, where)
    if annotation in BOUNDS:
        return compare_integer(annotation, node, where)
    if annotation in (str, bool):
        kind = {str: "string", bool: "boolean"}[annotation]
        return [] if node.get("type") == kind else [f"{where}: {kind} here, {node.get('type')} there"]
    return compare_record(annotation, node, where)


def compare_map(annotation: Any, node: dict[str, Any], where: str) -> list[str]:
    """A map has any keys in the schema, keys of a pattern, or a few named ones."""
    if "additionalProperties" in node:
        return compare(annotation, node["additionalProperties"], f"{where}/*")
    children = node.get("patternProperties") or properties(node)
    found = [] if children else [f"{where}: a map here only"]
    return found + [line for child in children.values() for line in compare(annotation, child, f"{where}/*")]


def compare_integer(annotation: Any, node: dict[str, Any], where: str) -> list[str]:
    if node.get("type") != "integer":
        return [f"{where}: an integer here, {node.get('type')} there"]
    if where in WIDER:
        return []
    if annotation is int:
        return [] if where.endswith(PLAIN) else [f"{where}: without a width here only"]
    there = (node.get("minimum"), node.get("maximum"))
    return [] if BOUNDS[annotation] == there else [f"{where}: {BOUNDS[annotation]} here, {there} there"]


def compare_record(record: type[Record], node: dict[str, Any], where: str) -> list[str]:
    here = {json_name(field): (field, annotation) for field, annotation in fields_of(record).items()}
    there = {name: child for name, child in properties(node).items() if f"{where}/{name}" not in FOREIGN}
    found = [f"{where}/{name}: only in the schema" for name in there.keys() - here.keys()]
    found += [f"{where}/{name}: only in the records" for name in here.keys() - there.keys()]
    for name in here.keys() & there.keys():
        field, annotation = here[name]
        pointer = f"{where}/{name}"
        needed = name in required(node) and pointer not in OPTIONAL_IN_PRACTICE
        if (not hasattr(record, field)) != (needed or pointer in REQUIRED_BY_THE_TEXT):
            found.append(f"{pointer}: required on one side only")
        found += compare(annotation, there[name], pointer)
    return found


def test_records_and_schema_have_the_same_properties_of_the_same_types() -> None:
    assert compare_record(Config, SCHEMA, "") == []


def test_a_difference_would_be_found() -> None:
    class Changed(Record):
        number: int
        text: tuple[str, ...] = ()
        invented: bool = False

    node = {"properties": {"number": {"type": "string"}, "text": {"type": "string"}, "new": {}}}
    assert len(compare_record(Changed, node, "")) == 6


def all_names(node: Any) -> set[str]:
    """The names of all properties that a schema knows."""
    if not isinstance(node, dict):
        return set()
    found = set(properties(node)) - {pointer.rsplit("/", 1)[1] for pointer in FOREIGN}
    for key in ("items", "additionalProperties"):
        found |= all_names(node.get(key))
    return found.union(*(all_names(child) for child in properties(node).values()))


def names_in(document: Any) -> set[str]:
    if isinstance(document, list):
        return set().union(*map(names_in, document))
    if not isinstance(document, dict):
        return set()
    return set(document).union(*map(names_in, document.values()))


def test_the_config_with_everything_has_everything() -> None:
    assert all_names(SCHEMA) <= names_in(read("everything"))


@pytest.mark.parametrize("name", ACCEPTED)
def test_schema_and_decoder_accept_the_same(name: str) -> None:
    document = read(name)
    # A null counts as absent here, as in programs written in Go; the schema refuses it.
    assert [
        error.message
        for error in Draft4Validator(SCHEMA).iter_errors(document)
        if not error.message.startswith("None is not of type")
    ] == []
    decode(Config, document)


@pytest.mark.parametrize("case", cases("refused_by_form"))
def test_schema_and_decoder_refuse_the_same_place(case: dict[str, Any]) -> None:
    document = changed(read("everything"), case)
    errors = list(Draft4Validator(SCHEMA).iter_errors(document))
    leaves = [leaf for error in errors for leaf in error.context or [error]]
    places = {"".join(f"/{escape(str(part))}" for part in leaf.absolute_path) for leaf in leaves}
    assert {place or "/" for place in places} == {case["where"]}
    with pytest.raises(SpecError):
        decode(Config, document)


@pytest.mark.parametrize("case", cases("refused_by_rules"))
def test_a_rule_says_what_the_decoder_does_not(case: dict[str, Any]) -> None:
    decode(Config, changed(read("everything"), case))


@pytest.mark.parametrize(
    "line", [line for line in (SPECS / "UPSTREAM").read_text().splitlines() if ".json" in line]
)
def test_the_schemas_are_verbatim(line: str) -> None:
    digest, name = line.split()
    assert hashlib.sha256((SPECS / name).read_bytes()).hexdigest() == digest
