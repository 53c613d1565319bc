"""The configs of tests/golden/configs, and one change made to one of them."""

import copy
import json
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parent / "golden" / "configs"
ACCEPTED = ("everything", "minimal", "foreign")


def read(name: str) -> Any:
    """A file of the folder as JSON."""
    return json.loads((CONFIGS / f"{name}.json").read_text())


def cases(name: str) -> list[Any]:
    """A table of refused changes as pytest parameters, each named by what it changes."""
    import pytest

    return [pytest.param(case, id=f"{case['at']}-{case['what']}") for case in read(name)]


def changed(document: Any, case: dict[str, Any]) -> Any:
    """A copy of a document with the value at the case's pointer set, or removed where the case has no value."""
    result = copy.deepcopy(document)
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in case["at"].split("/")[1:]]
    node = result
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if "value" not in case:
        del node[last]
    elif not isinstance(node, list):
        node[last] = case["value"]
    elif int(last) == len(node):
        node.append(case["value"])
    else:
        node[int(last)] = case["value"]
    return result
