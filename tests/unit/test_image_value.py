"""Values behave as frozen dataclasses do, for the functions of dataclasses too, and cost next to nothing to declare."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oci_image.value import Value, fresh

TREE = Path(__file__).resolve().parents[2]


def shout(text: str) -> str:
    return text.upper()


class Mine(Value):
    name: str
    parts: tuple[int, ...] = ()
    labels: dict[str, str] = fresh(default_factory=dict)
    call: Callable[[str], str] = shout

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Theirs:
    name: str
    parts: tuple[int, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    call: Callable[[str], str] = dataclasses.field(default=shout)


class Outer(Value):
    inner: Mine
    number: int = 3


class Key(Value):
    first: str
    second: int = 0


def test_fields_are_given_by_place_and_by_name() -> None:
    value = Mine("a", labels={"x": "y"})
    assert (value.name, value.parts, value.labels, str(value)) == ("a", (), {"x": "y"}, "a")
    assert value.call("b") == "B"  # a function as a default is no method
    match value:
        case Mine(name, parts):
            assert (name, parts) == ("a", ())


@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), (("a",), {"name": "b"}), (("a",), {"other": 1}), (("a", (), {}, shout, 5), {}), ((), {"parts": ()})],
    ids=["none", "twice", "unknown", "many", "missing"],
)  # fmt: skip
def test_wrong_fields_are_refused_as_by_a_dataclass(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Mine, Theirs):
        with pytest.raises(TypeError):
            kind(*given, **named)


def test_each_value_has_a_default_of_its_own() -> None:
    assert Mine("a").labels is not Mine("a").labels


def test_values_are_compared_hashed_and_shown_by_what_is_in_them() -> None:
    assert Key("a", 1) == Key(second=1, first="a")
    assert hash(Key("a", 1)) == hash(Key(second=1, first="a"))
    assert Key("a") != Key("b")
    assert Key("a") != ("a", 0)
    assert {Key("a"): 1}[Key("a")] == 1
    assert repr(Key("a", 1)) == "Key(first='a', second=1)"
    with pytest.raises(TypeError):
        hash(Mine("a"))  # as of a dataclass with a dictionary
    assert copy.deepcopy(Outer(Mine("a"))) == Outer(Mine("a"))


def test_values_are_not_changed() -> None:
    value = Key("a")
    with pytest.raises(AttributeError):
        value.first = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del value.first
    assert value.replace(first="b") == Key("b")
    assert value == Key("a")


def test_the_functions_of_dataclasses_take_them() -> None:
    kind: object = Mine
    assert dataclasses.is_dataclass(kind)
    assert dataclasses.asdict(Outer(Mine("a"))) == {
        "inner": dataclasses.asdict(Theirs("a")), "number": 3,
    }  # fmt: skip
    assert dataclasses.replace(Outer(Mine("a")), number=4) == Outer(Mine("a"), 4)
    assert [field.name for field in dataclasses.fields(Mine)] == [
        field.name for field in dataclasses.fields(Theirs)
    ]
    assert [field.name for field in dataclasses.fields(Outer(Mine("a")))] == ["inner", "number"]


def test_declaring_them_takes_no_module() -> None:
    code = f"import sys; sys.path.append({str(TREE)!r}); import oci_image.value; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, check=True)
    assert not {"dataclasses", "typing", "inspect", "collections"} & set(found.stdout.split())
