"""A layer's way from blob to plain bytes, checked on both sides, ahead of whoever consumes it.

One thread reads, hashes and decompresses the blob, a second hashes the plain bytes; both spend their
time in C code that releases the interpreter lock, while the consumer makes files.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.compression import READERS, detect

if TYPE_CHECKING:
    from oci_image.layers.limits import Limits
    from oci_image.model.digest import Digest
    from oci_image.store.verified import VerifiedReader

_PIECE = 1024 << 10
_PIECES_AHEAD = 8  # 8 MiB, also while the hash of the piece is pending


class LayerPipeline:
    """The pieces of one layer; owns the blob reader."""

    def __init__(self, blob: VerifiedReader, blob_size: int, diff_id: Digest, limits: Limits) -> None:
        self._blob = blob
        self._blob_size = blob_size
        self._diff_id = diff_id
        self._limits = limits
        self._pieces: queue.Queue[bytes] = queue.Queue(_PIECES_AHEAD)
        self._to_hash: queue.Queue[bytes] = queue.Queue(_PIECES_AHEAD)
        self._failure: BaseException | None = None
        self._stopped = False
        self._plain_hash = diff_id.new_hash()
        self._threads = [
            threading.Thread(target=self._decompress, name="decompress", daemon=True),
            threading.Thread(target=self._hash, name="hash", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def read_piece(self) -> bytes:
        """The next plain bytes, b"" at the end; raises what went wrong on the way here."""
        piece = self._pieces.get()
        if not piece:
            self._pieces.put(b"")
            if self._failure is not None:
                raise self._failure
        return piece

    def finish(self) -> None:
        """Read to the end and check digest, size and diff ID; IntegrityError if one is wrong."""
        while self.read_piece():
            pass
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        found = self._plain_hash.hexdigest()
        if found != self._diff_id.encoded:
            text = f"layer has the diff ID {self._diff_id.algorithm}:{found}, its config says {self._diff_id}"
            raise IntegrityError(text)

    def check_blob(self) -> None:
        """After a failure: IntegrityError if the blob is not what its descriptor promises.

        A damaged blob shows as any malformed entry; that it is damaged is the better explanation.
        """
        self.close(keep_blob=True)
        self._blob.finish()

    def close(self, *, keep_blob: bool = False) -> None:
        """Stop the threads and give the blob back; may be called twice."""
        self._stopped = True
        while any(thread.is_alive() for thread in self._threads):
            for waiting in (self._pieces, self._to_hash):
                try:
                    while True:
                        waiting.get_nowait()
                except queue.Empty:
                    pass
            with contextlib.suppress(queue.Full):
                self._to_hash.put_nowait(b"")
            for thread in self._threads:
                thread.join(0.01)
        if not keep_blob:
            self._blob.close()

    def _decompress(self) -> None:
        try:
            source = _Peekable(self._blob)
            plain = READERS[detect(source.peek(8))](source)
            total = 0
            while not self._stopped:
                piece = plain.read(_PIECE)
                if not piece:
                    self._blob.finish()
                    break
                total += len(piece)
                self._check_size(total)
                self._to_hash.put(piece)
                self._pieces.put(piece)
        except BaseException as failure:  # handed to the consumer, whatever it is
            self._failure = failure
        self._to_hash.put(b"")
        if not self._stopped:
            self._pieces.put(b"")

    def _check_size(self, total: int) -> None:
        limits = self._limits
        if total > limits.layer_bytes:
            raise ImageError(f"layer is larger than {limits.layer_bytes} bytes")
        if total > limits.ratio_free_bytes and total > limits.ratio * self._blob_size:
            raise ImageError(f"layer is more than {limits.ratio} times as large as its blob")

    def _hash(self) -> None:
        while piece := self._to_hash.get():
            self._plain_hash.update(piece)


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
