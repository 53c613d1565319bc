"""Progress of transfers: one line on a terminal, nothing anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oci_image.model.descriptor import Descriptor

_INTERVAL = 0.1  # seconds between two redraws


class Progress:
    """Bytes and rate of what is under way, layer by layer; threads may share it."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._begun = self._drawn = time.monotonic()
        self._parts: dict[str, tuple[int, int]] = {}

    def advance(self, descriptor: Descriptor, count: int) -> None:
        """`count` more bytes of a blob have arrived."""
        if not self._shown:
            return
        with self._lock:
            digest = str(descriptor.digest)
            self._parts[digest] = (self._parts.get(digest, (0, 0))[0] + count, descriptor.size)
            if time.monotonic() - self._drawn >= _INTERVAL:
                self._drawn = time.monotonic()
                self._draw()

    def _draw(self) -> None:
        done, total = (sum(part[n] for part in self._parts.values()) for n in (0, 1))
        rate = done / max(0.001, self._drawn - self._begun)
        layers = " ".join(
            f"{digest.partition(':')[2][:7]} {100 * have // max(1, size)}%"
            for digest, (have, size) in self._parts.items()
            if have < size
        )
        line = f"{done / 1e6:.1f}/{total / 1e6:.1f} MB {rate / 1e6:.1f} MB/s {layers}"
        sys.stderr.write("\r\x1b[K" + line[:100])
        sys.stderr.flush()

    def finish(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
