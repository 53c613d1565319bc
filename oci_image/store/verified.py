"""Reading a blob and finding out, in the same pass, whether it is the blob that was promised."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oci_image.errors import IntegrityError

if TYPE_CHECKING:
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
        self._hash.update(data)
        return data

    def skip(self, size: int) -> None:
        """Go on `size` bytes further, for a reader who has those; `finish` cannot be used afterwards."""
        os.lseek(self._fd, size, os.SEEK_CUR)
        self._remaining = max(0, self._remaining - size)

    def finish(self) -> None:
        """Read what is left, then compare size and digest; IntegrityError if one is wrong."""
        while self.read():
            pass
        where = str(self._descriptor.digest)
        if os.read(self._fd, 1):
            raise IntegrityError(
                f"blob is longer than its size of {self._descriptor.size} bytes", where=where
            )
        if self._hash.hexdigest() != self._descriptor.digest.encoded:
            raise IntegrityError("blob does not match its digest", where=where)

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
