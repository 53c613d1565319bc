"""Reading the JSON documents of an image: bounded, without duplicate keys, with pointers in errors.

The getters return None, "" or an empty container for a property that is absent or null, since writers
in the field emit nulls for every optional property.
"""

from __future__ import annotations

import json

from oci_image.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_DOCUMENT_BYTES = 4 << 20  # what registries and other tools accept for a manifest or a config


def parse_document(data: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object in `data`; duplicate keys, NaN, wrong encoding and deep nesting are refused."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ImageError(f"document of {len(data)} bytes is larger than {MAX_DOCUMENT_BYTES}", where=where)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        raise ImageError("document is nested too deeply", where=where) from None
    except ValueError as error:
        raise ImageError(f"document is not valid JSON: {error}", where=where) from None
    if not isinstance(value, dict):
        raise ImageError("document is not a JSON object", where=where)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"property {twice!r} is given twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def text_of(document: dict[str, Any], name: str, *, where: str) -> str:
    """A string property, "" if absent."""
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ImageError(f"{name} is not a string", where=where)
    return value


def object_of(document: dict[str, Any], name: str, *, where: str) -> dict[str, Any]:
    """An object property, {} if absent."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ImageError(f"{name} is not an object", where=where)
    return value


def list_of(document: dict[str, Any], name: str, *, where: str) -> list[Any]:
    """A list property, [] if absent."""
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ImageError(f"{name} is not a list", where=where)
    return value


def texts_of(document: dict[str, Any], name: str, *, where: str) -> tuple[str, ...]:
    """A list of strings, () if absent."""
    values = list_of(document, name, where=where)
    if not all(isinstance(value, str) for value in values):
        raise ImageError(f"{name} is not a list of strings", where=where)
    return tuple(values)


def text_map_of(document: dict[str, Any], name: str, *, where: str) -> dict[str, str]:
    """A map from string to string, {} if absent."""
    values = object_of(document, name, where=where)
    if not all(isinstance(value, str) for value in values.values()):
        raise ImageError(f"{name} is not a map of strings", where=where)
    return values
