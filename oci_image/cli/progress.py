"""Progress of transfers: a line for each layer and one for all of them on a terminal, nothing anywhere else."""

from __future__ import annotations

import os
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.model.descriptor import Descriptor

_INTERVAL = 0.1  # seconds between two redraws
_BAR = 24  # characters
_MAX_LINES = 8  # of layers at a time; the rest is in the sum


class Progress:
    """Bytes and rate of what is under way; threads may share it."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._begun = self._drawn = time.monotonic()
        self._parts: dict[str, tuple[int, int]] = {}
        self._lines = 0

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
        width = (
            os.get_terminal_size(sys.stderr.fileno()).columns or 80
        )  # a terminal that does not know says 0
        under_way = [(digest, have, size) for digest, (have, size) in self._parts.items() if have < size]
        lines = [
            f"{digest.partition(':')[2][:12]} {_bar(have, size)} {have / 1e6:8.1f} of {size / 1e6:.1f} MB"
            for digest, have, size in under_way[:_MAX_LINES]
        ]
        done, total = (sum(part[n] for part in self._parts.values()) for n in (0, 1))
        rate = done / max(0.001, self._drawn - self._begun)
        finished = len(self._parts) - len(under_way)
        lines.append(
            f"{finished} of {len(self._parts)} done, {done / 1e6:.1f} of {total / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s"
        )
        self._erase()
        self._lines = len(lines)
        # A line that wraps would be more than one to go back over.
        sys.stderr.write("".join(line[: max(1, width - 1)] + "\n" for line in lines))
        sys.stderr.flush()

    def _erase(self) -> None:
        if self._lines:
            sys.stderr.write(f"\x1b[{self._lines}F\x1b[J")
            self._lines = 0

    def finish(self) -> None:
        """Take the lines away."""
        if self._shown:
            self._erase()
            sys.stderr.flush()


def _bar(have: int, size: int) -> str:
    filled = _BAR * have // max(1, size)
    return f"[{'=' * filled}{' ' * (_BAR - filled)}] {100 * have // max(1, size):3}%"
