"""Records: keyword arguments only, compared by value, never changed."""

import pytest

from pyruntime.base.record import Record, fields_of, values_of


class Point(Record):
    x: int
    y: int = 0


class Named(Point):
    name: str = ""


class Twin(Record):
    x: int
    y: int = 0


def test_fields_come_from_annotations_base_classes_first() -> None:
    assert fields_of(Named) == {"x": int, "y": int, "name": str}
    assert values_of(Named(x=1)) == {"x": 1, "y": 0, "name": ""}


def test_a_missing_or_unknown_value_is_refused() -> None:
    with pytest.raises(TypeError, match="Point needs a value for 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point has no field 'z'"):
        Point(x=1, z=2)  # type: ignore[call-arg]


def test_a_record_cannot_be_changed_but_replaced() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="immutable"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del point.x
    moved = point.replace(y=5)
    assert (point.y, moved.x, moved.y) == (0, 1, 5)
    with pytest.raises(TypeError, match="no field"):
        point.replace(z=1)


def test_equality_is_by_type_and_value_and_a_default_counts_as_given() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert hash(Point(x=1)) == hash(Point(x=1, y=0))
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Twin(x=1)
    assert Point(x=1) != Named(x=1)


def test_it_shows_what_was_given() -> None:
    assert repr(Named(x=1, name="a")) == "Named(x=1, name='a')"


def test_trusted_values_make_an_equal_record() -> None:
    assert Point.trusted({"x": 1}) == Point(x=1)
