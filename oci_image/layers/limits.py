"""What a layer may ask of this machine before it is refused."""

from __future__ import annotations

from oci_image.value import Value
from pyruntime.base.errors import UsageError


class Limits(Value):
    """Bounds against bombs, per layer unless said otherwise; sizes in bytes.

    The defaults are far above any image seen in the field.
    """

    layer_bytes: int = 256 << 30  # decompressed
    ratio: int = 2000  # decompressed over compressed; gzip cannot reach more than 1032
    ratio_free_bytes: int = 1 << 30  # the ratio counts only beyond this much
    file_bytes: int = 1 << 42  # apparent size of one file, holes included
    entries: int = 5_000_000
    header_bytes: int = 1 << 20  # pax records and long names of one entry
    metadata_bytes: int = 256 << 20  # the same of all entries, which are held in memory
    sparse_segments: int = 65_536  # of one file
    path_depth: int = 1000
    name_bytes: int = 255  # of one component of a path; no file system takes more
    layers: int = 1000  # of an image


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_limits(texts: list[str]) -> Limits:
    """Limits from NAME=NUMBER texts, numbers with K, M, G or T; what is not named keeps its default."""
    limits = Limits()
    known = list(vars(Limits()))
    for text in texts:
        name, _, number = text.partition("=")
        name = name.replace("-", "_")
        unit = number[-1:].lower() if number[-1:].isalpha() else ""
        digits = number[: len(number) - len(unit)]
        if name not in known or unit not in _UNITS or not digits.isdecimal() or len(digits) > 18:
            raise UsageError(f"invalid limit {text!r}", hint=f"NAME=NUMBER, with one of {', '.join(known)}")
        limits = limits.replace(**{name: int(digits) * _UNITS[unit]})
    return limits
