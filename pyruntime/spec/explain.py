"""Says everything that is wrong with a config at once; imported only when one has been refused.

jsonschema knows the whole form, and finds in 0.1 s what the decoder, which stops at the first fault, did not
look at.  It may be absent, as may the schemas: then the first fault has to do.
"""

import os

from pyruntime.base.decode import escape, mismatch
from pyruntime.base.errors import SpecError
from pyruntime.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST_SHOWN = 8
_LONGEST_TEXT = 120  # characters; a message of jsonschema quotes the value, which may be a whole section
_TYPES: dict[str, type] = {"boolean": bool, "integer": int, "string": str, "array": list, "object": dict}
_OTHER_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")


def summarise(faults: list[SpecError]) -> SpecError:
    """The first fault, whose hint goes on to name the others."""
    first, *others = faults
    if not others:
        return first
    shown = "; ".join(f"{fault.what} ({fault.where})" for fault in others[:_MOST_SHOWN])
    rest = f" and {len(others) - _MOST_SHOWN} more" if len(others) > _MOST_SHOWN else ""
    lead = f"{first.hint}; " if first.hint else ""
    return SpecError(first.what, where=first.where, hint=f"{lead}also wrong: {shown}{rest}")


def with_schema_faults(fault: SpecError, document: object) -> SpecError:
    """A fault that the decoder found, together with what the schema says elsewhere in the document."""
    return summarise([fault, *(other for other in schema_faults(document) if other.where != fault.where)])


def schema_faults(document: object) -> list[SpecError]:
    """What the specification's schema finds wrong, in the order of the document; empty where it cannot be asked."""
    try:
        from jsonschema import Draft4Validator

        errors = list(Draft4Validator(config_schema()).iter_errors(document))
    except (ImportError, OSError):
        return []
    # Where the schema offers alternatives, what is wrong with them says more than that none fits.
    leaves = [leaf for error in errors for leaf in error.context or [error]]
    return [
        _fault(leaf.validator, leaf.validator_value, leaf.instance, leaf.message, list(leaf.absolute_path))
        for leaf in leaves
    ]


def _fault(rule: str, wanted: object, found: object, message: str, path: "list[str | int]") -> SpecError:
    where = "".join(f"/{escape(str(part))}" for part in path) or "/"
    if rule == "type" and isinstance(wanted, str) and wanted in _TYPES:
        return mismatch(_TYPES[wanted], found, where)
    return SpecError(
        message if len(message) <= _LONGEST_TEXT else f"{message[:_LONGEST_TEXT]}...", where=where
    )


def config_schema() -> "dict[str, Any]":
    """The schema of config.json in one piece: references resolved, other platforms' sections left out.

    Raises:
        OSError: the schemas are not installed.
    """
    import json

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # An installation has the schemas inside the package, a source tree beside it.
    folders = [f"{parent}/specs/runtime/v{SPEC_VERSION}" for parent in (package, os.path.dirname(package))]
    folder = next((name for name in folders if os.path.isdir(name)), folders[0])
    files: dict[str, dict[str, Any]] = {}

    def read(name: str) -> "dict[str, Any]":
        if name not in files:
            with open(f"{folder}/{name}", encoding="utf-8") as file:
                files[name] = json.load(file)
        return files[name]

    def resolve(node: object, name: str) -> object:
        if isinstance(node, list):
            return [resolve(item, name) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" not in node:
            return {key: resolve(item, name) for key, item in node.items()}
        other, _, pointer = node["$ref"].partition("#")
        target: Any = read(other or name)
        for part in pointer.strip("/").split("/"):
            target = target[part]
        return resolve(target, other or name)

    schema = read("config-schema.json")
    for platform in _OTHER_PLATFORMS:
        schema["properties"].pop(platform, None)
    return {key: resolve(value, "config-schema.json") for key, value in schema.items()}
