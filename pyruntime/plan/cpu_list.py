"""Lists of CPUs and memory nodes as the kernel writes them: cpuset(7), "List format"."""

from pyruntime.base.errors import SpecError


def cpu_mask(cpus: str, where: str) -> bytes:
    """A list such as "0-3,7" as a bit mask of 64-bit words.

    Raises:
        SpecError: it is not such a list.
    """
    mask = 0
    for part in cpus.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            hint = 'write numbers and ranges: "0-3,7"'
            raise SpecError(f"CPU list {cpus!r} cannot be read", where=where, hint=hint)
        for cpu in range(int(first), int(last or first) + 1):
            mask |= 1 << cpu
    words = max(1, (mask.bit_length() + 63) // 64)
    return mask.to_bytes(words * 8, "little")
