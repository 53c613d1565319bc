"""Values: classes of fields that are compared by what is in them and never changed.

They are declared and used as frozen dataclasses, whose `replace`, `fields` and `asdict` take them too.  Importing
dataclasses takes 5 ms and each class half a millisecond more; a further bundle of a known image takes 13 in all.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_options: object) -> object:
        return lambda decorated: decorated


class _Fresh:
    """Stands for a default that each value gets for itself."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


def fresh(*, default_factory: Callable[[], T]) -> T:
    """A field's default that is made anew for each value: a list, a dictionary."""
    made: Any = _Fresh(default_factory)
    return made  # type: ignore[no-any-return]


_MISSING: Any = object()


class _DataclassFields:
    """What the functions of dataclasses look for, made when they do."""

    def __get__(self, _: object, owner: type[Value]) -> dict[str, Any]:
        from dataclasses import field, fields, make_dataclass

        made = make_dataclass(
            owner.__name__,
            [
                (name, owner.__annotations__[name])
                if default is _MISSING
                else (name, owner.__annotations__[name], field(default_factory=_producer(default)))
                for name, default in owner._defaults.items()  # noqa: SLF001
            ],
        )
        return {found.name: found for found in fields(made)}


def _producer(default: Any) -> Callable[[], Any]:  # noqa: ANN401 - whatever a field holds
    if isinstance(default, _Fresh):
        return default.factory
    return lambda: default


@dataclass_transform(frozen_default=True, eq_default=True, field_specifiers=(fresh,))
class Value:
    """Base class of values; fields are annotations, defaults what is assigned to them.  There is no other base."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]
    else:
        __dataclass_fields__ = _DataclassFields()
    _defaults: ClassVar[dict[str, Any]]  # of all fields, in order; _MISSING where there is none

    def __init_subclass__(cls) -> None:
        cls._defaults = {name: cls.__dict__.get(name, _MISSING) for name in cls.__annotations__}
        cls.__match_args__ = tuple(cls._defaults)  # type: ignore[misc, attr-defined]

    def __init__(self, *given: object, **named: object) -> None:
        values = self._defaults.copy()
        values.update(zip(values, given, strict=False))
        values.update(named)
        if len(given) > len(self._defaults) or len(values) > len(self._defaults):
            raise TypeError(f"{type(self).__name__} has no such field: {[*given, *named]}")
        if named and given and any(name in named for name, _ in zip(values, given, strict=False)):
            raise TypeError(f"{type(self).__name__} got a field twice: {list(named)}")
        for name, value in values.items():
            if value is _MISSING:
                raise TypeError(f"{type(self).__name__} needs a value for {name!r}")
            if type(value) is _Fresh:
                values[name] = value.factory()
        object.__setattr__(self, "__dict__", values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__qualname__}({shown})"

    def replace(self, **changes: object) -> Self:
        """The same with other values for some fields."""
        return type(self)(**{**self.__dict__, **changes})
