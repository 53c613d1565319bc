"""What a layer may ask of this machine before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds against bombs, per layer unless said otherwise; sizes in bytes.

    The defaults are far above any image seen in the field.
    """

    layer_bytes: int = 256 << 30  # decompressed
    ratio: int = 2000  # decompressed over compressed; gzip cannot reach more than 1032
    ratio_free_bytes: int = 1 << 30  # the ratio counts only beyond this much
    file_bytes: int = 1 << 42  # apparent size of one file, holes included
    entries: int = 5_000_000
    header_bytes: int = 1 << 20  # pax records and long names of one entry
    sparse_segments: int = 65_536  # of one file
    path_depth: int = 1000
    name_bytes: int = 255  # of one component of a path; no file system takes more
    layers: int = 1000  # of an image
