"""Immutable typed records: the one piece of class machinery in the project.

A record is declared by plain annotations; a default is a plain class attribute:

    class Mount(Record):
        destination: str
        type: str = ""
        options: tuple[str, ...] = ()

Modules that declare records must not use ``from __future__ import annotations``: the decoder and the
plan's encoder read the annotations as types.  Leaf types therefore precede their users in a file.

Why not dataclasses: importing them costs 12 ms and 0.6 ms per class, a runtime starts five times in one
container's life, and the whole process of a fast verb takes less than that.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self, dataclass_transform
else:

    def dataclass_transform(**_options: object) -> object:
        return lambda decorated: decorated


_fields_by_class: "dict[type[Record], dict[str, object]]" = {}
# The names of all fields, and of those without a default.
_names_by_class: "dict[type[Record], tuple[frozenset[str], frozenset[str]]]" = {}
# A class, and the names that a record of it was made with: in order, because that is how they come.
_accepted: "set[tuple[object, ...]]" = set()
# Past the refusal of Record.  The dictionary becomes the record's own: a copy would cost as much as all the rest.
_set_attribute = object.__setattr__


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True)
class Record:
    """Base class of all records: keyword arguments only, compared by value, never changed."""

    def __init__(self, **values: object) -> None:
        # A plan has a hundred records and more, made in fewer ways: each way is checked once.
        if (type(self), *values) not in _accepted:
            _check_names(type(self), values)
        _set_attribute(self, "__dict__", values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and values_of(self) == values_of(other)

    def __hash__(self) -> int:
        return hash((type(self), *(repr(value) for value in values_of(self).values())))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({shown})"

    def replace(self, **changes: object) -> "Self":
        """A copy of the record with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    @classmethod
    def trusted(cls, values: dict[str, object]) -> "Self":
        """Make a record of values that the decoder has already checked, and keep the dictionary as its own."""
        record = cls.__new__(cls)
        _set_attribute(record, "__dict__", values)
        return record


def fields_of(cls: type[Record]) -> dict[str, object]:
    """The fields of a record class, base classes first, each with its annotation."""
    declared = _fields_by_class.get(cls)
    if declared is None:
        declared = {}
        for base in reversed(cls.__mro__):
            declared.update(getattr(base, "__annotations__", {}) if issubclass(base, Record) else {})
        _fields_by_class[cls] = declared
    return declared


def _learn_names(cls: type[Record]) -> tuple[frozenset[str], frozenset[str]]:
    declared = frozenset(fields_of(cls))
    names = declared, frozenset(name for name in declared if not hasattr(cls, name))
    _names_by_class[cls] = names
    return names


def _check_names(cls: type[Record], values: dict[str, object]) -> None:
    declared, required = _names_by_class.get(cls) or _learn_names(cls)
    given = values.keys()
    if given <= declared and required <= given:
        _accepted.add((cls, *values))
        return
    for name in values:
        if name not in declared:
            raise TypeError(f"{cls.__name__} has no field {name!r}")
    missing = next(name for name in fields_of(cls) if name in required and name not in values)
    raise TypeError(f"{cls.__name__} needs a value for {missing!r}")


def values_of(record: Record) -> dict[str, object]:
    """The value of each declared field, defaults included."""
    return {name: getattr(record, name) for name in fields_of(type(record))}
