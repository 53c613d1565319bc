"""A layer's way from blob to plain bytes, checked on both sides.

One thread reads and decompresses the blob, a second hashes it, a third hashes the plain bytes and writes them
down; all spend their time in C code that releases the interpreter lock.  Nothing else runs meanwhile: each
time one of them comes back for the lock it would wait for whoever interprets bytecode.
"""

from __future__ import annotations

import os
import queue
import threading

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.compression import READERS, detect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.layers.limits import Limits
    from oci_image.model.digest import Digest
    from oci_image.store.verified import VerifiedReader

_PIECE = 1024 << 10
_TOLD = (
    256 << 10
)  # less, because whoever reads behind should not begin with a megabyte when the last byte is there
_PIECES_AHEAD = 8


def unfold_layer(
    blob: VerifiedReader,
    blob_size: int,
    diff_id: Digest,
    spool_fd: int,
    limits: Limits,
    grown: Callable[[int], None] | None = None,
) -> int:
    """Write the plain bytes of a blob to `spool_fd`; how many there are.  Takes the reader over.

    `grown` is told now and then how many have been written, which may yet turn out to be the wrong ones.

    Raises: IntegrityError if size, digest or diff ID is wrong, ImageError if the data are damaged or exceed
    a limit, OSError if they cannot be written.
    """
    plain_hash = diff_id.new_hash()
    written = 0

    def store(piece: bytes) -> None:
        nonlocal written
        rest = memoryview(piece)
        while rest:
            count = os.write(spool_fd, rest[:_TOLD])
            rest = rest[count:]
            written += count
            if grown is not None:
                grown(written)
        plain_hash.update(piece)

    try:
        with _Background(store) as plain, _Background(blob.hash_by) as compressed:
            blob.hash_with(compressed.put)
            try:
                size = _decompress(blob, blob_size, plain, limits)
            except ImageError:
                # A damaged blob shows as all kinds of faults; that it is damaged is the better explanation.
                blob.read_on()
                compressed.finish()
                blob.check()
                raise
            blob.read_on()
            compressed.finish()
            blob.check()
            plain.finish()
    finally:
        blob.close()
    found = plain_hash.hexdigest()
    if found != diff_id.encoded:
        raise IntegrityError(f"layer has the diff ID {diff_id.algorithm}:{found}, its config says {diff_id}")
    return size


def _decompress(blob: VerifiedReader, blob_size: int, plain: _Background, limits: Limits) -> int:
    source = _Peekable(blob)
    reader = READERS[detect(source.peek(8))](source)
    total = 0
    while piece := reader.read(_PIECE):
        total += len(piece)
        if total > limits.layer_bytes:
            raise ImageError(f"layer is larger than {limits.layer_bytes} bytes")
        if total > limits.ratio_free_bytes and total > limits.ratio * blob_size:
            raise ImageError(f"layer is more than {limits.ratio} times as large as its blob")
        plain.put(piece)
    return total


class _Background:
    """A thread that does something with each piece that it is given, in order; a context manager."""

    def __init__(self, work: Callable[[bytes], None]) -> None:
        self._work = work
        self._pieces: queue.Queue[bytes] = queue.Queue(_PIECES_AHEAD)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Background:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.put(b"")
        self._thread.join()

    def put(self, piece: bytes) -> None:
        """Hand a piece over; raises what the work has raised so far."""
        if self._failure is not None:
            raise self._failure
        self._pieces.put(piece)

    def finish(self) -> None:
        """Wait until everything is done; raises what the work has raised."""
        self._pieces.put(b"")
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while piece := self._pieces.get():
            if self._failure is None:
                try:
                    self._work(piece)
                except BaseException as failure:  # handed to whoever gives the pieces
                    self._failure = failure


class _Peekable:
    """The blob with its first bytes still to be looked at."""

    def __init__(self, blob: VerifiedReader) -> None:
        self._blob = blob
        self._first = b""

    def peek(self, size: int) -> bytes:
        while len(self._first) < size and (more := self._blob.read()):
            self._first += more
        return self._first[:size]

    def read(self, size: int = -1) -> bytes:
        if self._first:
            data, self._first = self._first, b""
            if 0 <= size < len(data):
                data, self._first = data[:size], data[size:]
            return data
        return self._blob.read(size) if size >= 0 else self._blob.read()
