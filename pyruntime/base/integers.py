"""Integers of a fixed width, for the annotations of records.

To a type checker and to callers they are plain `int`; the decoder finds the bounds behind the name and refuses
what does not fit, as a runtime with fixed-width fields does.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Int32: TypeAlias = int
    Int64: TypeAlias = int
    Uint16: TypeAlias = int
    Uint32: TypeAlias = int
    Uint64: TypeAlias = int
else:

    class Int32(int):
        """-2147483648 to 2147483647."""

    class Int64(int):
        """-9223372036854775808 to 9223372036854775807."""

    class Uint16(int):
        """0 to 65535."""

    class Uint32(int):
        """0 to 4294967295."""

    class Uint64(int):
        """0 to 18446744073709551615."""


# An `int` without a width is what the specification calls one: 64 bits on every platform that matters here.
BOUNDS: dict[object, tuple[int, int]] = {
    int: (-1 << 63, (1 << 63) - 1),
    Int32: (-1 << 31, (1 << 31) - 1),
    Int64: (-1 << 63, (1 << 63) - 1),
    Uint16: (0, (1 << 16) - 1),
    Uint32: (0, (1 << 32) - 1),
    Uint64: (0, (1 << 64) - 1),
}
