"""Reading a plain layer while it is still being written, in a process of its own.

Threads would not do: whoever interprets bytecode keeps the interpreter lock from those that inflate and hash.
"""

from __future__ import annotations

import contextlib
import functools
import os

from oci_image.errors import ImageError
from oci_image.layers.stream import FileStream, GrowingStream, tell_size
from oci_image.layers.workers import Worker
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Follower:
    """Runs `index` on the growing file `fd` in another process; a context manager, at whose end that is over.

    What it finds may be believed only when the bytes have been verified, and so may its failure.
    """

    def __init__(self, fd: int, index: Callable[[FileStream], Any]) -> None:
        """Start it; raises OSError."""
        reading, self._telling = os.pipe()
        try:
            self._worker = Worker(functools.partial(_follow, index, fd, reading, self._telling))
        except OSError:
            os.close(self._telling)
            raise
        finally:
            os.close(reading)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._worker.stop()

    def grown(self, size: int) -> None:
        """So many bytes of the file are there now."""
        # It reads no further than to the end of the archive, or to a fault.
        with contextlib.suppress(BrokenPipeError):
            tell_size(self._telling, size)

    def result(self) -> Any:  # noqa: ANN401 - whatever `index` returned
        """The file is whole: what `index` makes of it; raises what it raises."""
        self._finish()
        return self._worker.result()

    def _finish(self) -> None:
        fd, self._telling = self._telling, -1
        if fd >= 0:
            os.close(fd)


def _follow(index: Callable[[FileStream], Any], fd: int, told: int, telling: int) -> Any:  # noqa: ANN401
    os.close(telling)  # or the end of the file would never be heard of
    try:
        return index(GrowingStream(fd, told))
    except OSError as error:
        raise ImageError(f"cannot read the plain layer: {errno_text(error.errno or 0)}") from error
