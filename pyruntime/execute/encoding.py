"""The encoded plan: what crosses from Python to the executor.

All numbers are little-endian.

    header      8 bytes   magic "OCIPLAN1"
                u32       number of operations
                u32       flags: 1 report every finished step with its duration
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

MAGIC = b"OCIPLAN1"
REPORT_STEPS = 1
_HEADER_SIZE = 24


def encode_plan(
    operations: "tuple[Operation, ...] | list[Operation]", *, report_steps: bool = False
) -> bytes:
    """Encode operations in order; step numbers count from 1.

    Raises:
        SpecError: a string holds a NUL byte.
    """
    records: list[bytes] = []
    data: list[bytes] = []
    position = 0

    for step, operation in enumerate(operations, 1):
        arguments: list[bytes] = []
        for name in fields_of(type(operation)):
            if name == "origin":
                continue
            value = getattr(operation, name)
            if isinstance(value, int):
                arguments.append((value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"))
                continue
            block = _block(value, operation)
            arguments.append((position << 32 | len(block)).to_bytes(8, "little"))
            data.append(block + b"\0")
            position += len(block) + 1
        records.append(
            operation.code.to_bytes(2, "little")
            + len(arguments).to_bytes(2, "little")
            + step.to_bytes(4, "little")
            + b"".join(arguments)
        )

    body = b"".join(records)
    data_offset = _HEADER_SIZE + len(body)
    flags = REPORT_STEPS if report_steps else 0
    numbers = (len(records), flags, data_offset, data_offset + position)
    return MAGIC + b"".join(number.to_bytes(4, "little") for number in numbers) + body + b"".join(data)


def _block(value: object, operation: Operation) -> bytes:
    if isinstance(value, bytes):
        return value
    strings = value if isinstance(value, tuple) else (value,)
    encoded = [str(string).encode("utf-8", "surrogateescape") for string in strings]
    if any(b"\0" in string for string in encoded):
        hint = "remove the \\u0000: the kernel ends every string there"
        raise SpecError("a string contains a NUL character", where=operation.origin, hint=hint)
    if isinstance(value, tuple):
        return b"".join(string + b"\0" for string in encoded)
    return encoded[0]
