"""The records and the vendored schema know the same properties."""

import hashlib
import json
import types
from pathlib import Path
from typing import Any

import pytest

from pyruntime.base.decode import json_name
from pyruntime.base.record import Record, fields_of
from pyruntime.spec.config import Config

SPECS = Path(__file__).resolve().parents[2] / "specs"
RUNTIME = SPECS / "runtime" / "v1.3.0"
# The schema's root lists other platforms, which this runtime does not carry out.
OTHER_PLATFORMS = {"solaris", "windows", "vm", "zos", "freebsd"}
# Not for Linux: users have names and commands are one line on Windows only; the two switches are deprecated.
FOREIGN = {"username", "commandLine", "enableCMT", "enableMBM", "schemata"}


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RUNTIME / name).read_text())
    return document


def resolve(node: dict[str, Any], file: str) -> tuple[dict[str, Any], str]:
    """Follow $ref until a node has content; returns it with the file that it stands in."""
    while "$ref" in node:
        path, _, pointer = node["$ref"].partition("#")
        file = path or file
        target: Any = load(file)
        for part in pointer.strip("/").split("/"):
            target = target[part] if part else target
        node = target
    return node, file


def properties(node: dict[str, Any], file: str) -> dict[str, tuple[dict[str, Any], str]]:
    node, file = resolve(node, file)
    found = {name: (value, file) for name, value in node.get("properties", {}).items()}
    for part in (*node.get("allOf", []), *node.get("anyOf", []), *node.get("oneOf", [])):
        found.update(properties(part, file))
    return found


def record_inside(annotation: object) -> type[Record] | None:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        inside = record_inside(part) if not isinstance(part, types.EllipsisType) else None
        if inside is not None:
            return inside
    return None


def compare(
    record: type[Record], node: dict[str, Any], file: str, where: str, differences: list[str]
) -> None:
    declared = {json_name(field): annotation for field, annotation in fields_of(record).items()}
    known = properties(node, file)
    names = set(known) - (OTHER_PLATFORMS if not where else set()) - FOREIGN
    differences += [f"{where}/{name}: only in the schema" for name in sorted(names - set(declared))]
    differences += [
        f"{where}/{name}: only in the records" for name in sorted(set(declared) - set(known) - FOREIGN)
    ]
    for name in sorted(names & set(declared)):
        inside = record_inside(declared[name])
        if inside is None:
            continue
        child, child_file = resolve(*known[name])
        for key in ("items", "additionalProperties", "patternProperties"):
            if key in child and isinstance(child[key], dict):
                child = next(iter(child[key].values())) if key == "patternProperties" else child[key]
                break
        else:
            if getattr(declared[name], "__origin__", None) is dict:  # a map whose keys the schema names
                child = next(iter(child["properties"].values()))
        compare(inside, child, child_file, f"{where}/{name}", differences)


def test_every_property_is_declared_and_none_is_invented() -> None:
    differences: list[str] = []
    compare(Config, load("config-schema.json"), "config-schema.json", "", differences)
    assert differences == []


@pytest.mark.parametrize(
    "line", [line for line in (SPECS / "UPSTREAM").read_text().splitlines() if ".json" in line]
)
def test_the_schemas_are_verbatim(line: str) -> None:
    digest, name = line.split()
    assert hashlib.sha256((SPECS / name).read_bytes()).hexdigest() == digest
