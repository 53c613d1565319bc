"""Reading a blob and finding out, in the same pass, whether it is the blob that was promised."""

from __future__ import annotations

import os

from oci_image.errors import IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.model.descriptor import Descriptor

_PIECE = 256 << 10


class VerifiedReader:
    """A blob's bytes, counted and hashed as they go by; owns the descriptor `fd`.

    Nothing read may be believed before `finish` has returned.
    """

    def __init__(self, fd: int, descriptor: Descriptor) -> None:
        self._fd = fd
        self._descriptor = descriptor
        self._hash = descriptor.digest.new_hash()
        self.hash_by = self._hash.update
        self._hashing: Callable[[bytes], object] = self._hash.update
        self._remaining = descriptor.size

    def read(self, size: int = _PIECE) -> bytes:
        """Up to `size` bytes, b"" at the promised end."""
        if not self._remaining:
            return b""
        data = os.read(self._fd, min(size, self._remaining))
        if not data:
            raise IntegrityError(
                f"blob ends {self._remaining} bytes before its size of {self._descriptor.size}",
                where=str(self._descriptor.digest),
            )
        self._remaining -= len(data)
        self._hashing(data)
        return data

    def hash_with(self, hand_over: Callable[[bytes], object]) -> None:
        """Give what is read to `hand_over`, which sees to it that `hash_by` gets it in order, before `check`."""
        self._hashing = hand_over

    def skip(self, size: int) -> None:
        """Go on `size` bytes further, for a reader who has those; `finish` cannot be used afterwards."""
        os.lseek(self._fd, size, os.SEEK_CUR)
        self._remaining = max(0, self._remaining - size)

    def finish(self) -> None:
        """Read what is left, then compare size and digest; IntegrityError if one is wrong."""
        self.read_on()
        self.check()

    def read_on(self) -> None:
        """Read what is left; IntegrityError if that is more or less than was promised."""
        while self.read():
            pass
        if os.read(self._fd, 1):
            raise IntegrityError(
                f"blob is longer than its size of {self._descriptor.size} bytes",
                where=str(self._descriptor.digest),
            )

    def check(self) -> None:
        """Compare the digest of what has been read; IntegrityError if it is wrong."""
        where = str(self._descriptor.digest)
        if self._hash.hexdigest() != self._descriptor.digest.encoded:
            raise IntegrityError("blob does not match its digest", where=where)

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
