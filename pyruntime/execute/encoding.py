"""The encoded plan: what crosses from Python to the executor.

All numbers are little-endian.

    header      8 bytes   magic "OCIPLAN1"
                u32       number of operations
                u32       flags: 1 report every finished step with its duration, 2 another plan follows
                u32       offset of the data region, from the start of the plan
                u32       size of the whole plan
    operations  u16       code
                u16       number of arguments
                u32       step number as the user sees it
                u64 each  argument: a number, or offset << 32 | length into the data region
    data        strings and blocks; each is followed by one NUL that its length does not count.
                A list is its strings joined by NUL, with one NUL after the last; an empty list has length 0.

The executor checks every offset, length and NUL before it carries anything out.
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import fields_of
from pyruntime.plan.operations import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"OCIPLAN1"
REPORT_STEPS = 1
CONTINUES = 2
_HEADER_SIZE = 24
_WORD = 0xFFFF_FFFF_FFFF_FFFF

_arguments_by_class: dict[type[Operation], tuple[str, ...]] = {}


def encode_plan(
    operations: "tuple[Operation, ...] | list[Operation]",
    *,
    report_steps: bool = False,
    first_step: int = 1,
    continues: bool = False,
) -> bytes:
    """Encode operations in order; step numbers count from `first_step`.  `continues`: another plan will follow.

    Raises:
        SpecError: a string holds a NUL byte.
    """
    try:
        words, data = _encode_operations(tuple(operations), _arguments_by_class, _learn_arguments, first_step)
    except ValueError as error:
        raise _nul(operations[error.args[0] - first_step]) from None
    data_offset = _HEADER_SIZE + len(words)
    flags = (REPORT_STEPS if report_steps else 0) | (CONTINUES if continues else 0)
    numbers = (len(operations), flags, data_offset, data_offset + len(data))
    head = b"".join([number.to_bytes(4, "little") for number in numbers])
    return b"".join((MAGIC, head, words, data))


def encode_operations(
    operations: tuple[object, ...],
    known: dict[type, tuple[str, ...]],
    learn: "Callable[[type], tuple[str, ...]]",
    first_step: int,
) -> tuple[bytes, bytes]:
    """The operations and the data of a plan; `known` are the names of the arguments of each class, `learn` finds them.

    Raises:
        ValueError: a string holds a NUL byte; the argument is the number of the step.
    """
    # Everything but the data is words of 64 bits: code, count and step of an operation make one, each argument is one.
    words: list[int] = []
    data: list[bytes] = []
    position = 0
    for step, operation in enumerate(operations, first_step):
        cls = operation.__class__
        names = known.get(cls) or learn(cls)
        words.append(cls.code | len(names) << 16 | step << 32)  # type: ignore[attr-defined]  # every operation has one
        for name in names:
            value = getattr(operation, name)
            kind = type(value)
            if kind is int or kind is bool:
                words.append(value & _WORD)
                continue
            if kind is str:
                block = value.encode("utf-8", "surrogateescape")
                if b"\0" in block:
                    raise ValueError(step)
            else:
                block = value if kind is bytes else _list_block(value, step)
            length = len(block)
            words.append(position << 32 | length)
            data.append(block)
            position += length + 1
    body = b"".join([word.to_bytes(8, "little") for word in words])
    return body, b"\0".join((*data, b""))


try:
    # The same in C, where the program has it.
    from pyruntime_launcher import encode_operations as _encode_operations
except ImportError:
    _encode_operations = encode_operations


def _learn_arguments(cls: type[Operation]) -> tuple[str, ...]:
    names = _arguments_by_class[cls] = tuple(name for name in fields_of(cls) if name != "origin")
    return names


def _list_block(strings: tuple[str, ...], step: int) -> bytes:
    if not strings:
        return b""
    block = "\0".join(strings).encode("utf-8", "surrogateescape") + b"\0"
    if block.count(b"\0") != len(strings):
        raise ValueError(step)
    return block


def _nul(operation: Operation) -> SpecError:
    hint = "remove the \\u0000: the kernel ends every string there"
    return SpecError("a string contains a NUL character", where=operation.origin, hint=hint)
