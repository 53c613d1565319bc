"""Writing a blob: counted and hashed as it arrives, published under its digest when it is right.

A blob grows in the store's `.partial` directory.  One whose digest is known beforehand has it as its name
there, so that a transfer that broke off goes on where it was, also in another process; a lock on the file
makes a second process wait and then find the blob.
"""

from __future__ import annotations

import errno
import fcntl
import os

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from oci_image.model.digest import Digest
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

PARTIAL = ".partial"
_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20


class BlobWriter:
    """A blob on its way into a store; a context manager.

    Leaving it without `commit` keeps what has arrived of a blob with a known digest, for a later try,
    and removes anything else.
    """

    def __init__(self, layout_fd: int, digest: Digest | None = None, size: int | None = None) -> None:
        """Begin, or go on with what is there: `offset` says how many bytes that are.

        Raises: ImageError if the store cannot be written to.
        """
        self._layout_fd = layout_fd
        self._expected = digest
        self._size = size
        self._name = _file_name(digest)
        self.offset = 0
        self._partial_fd = _open_for_writing(layout_fd, PARTIAL, 0o700)
        self._fd = _open_locked(self._partial_fd, self._name)
        self._hash = (digest or Digest("sha256", "")).new_hash()
        self._take_up()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_up(self) -> None:
        while data := os.read(self._fd, _PIECE):
            self._hash.update(data)
            self.offset += len(data)
        if self._size is not None and self.offset > self._size:
            self.restart()

    def restart(self) -> None:
        """Forget what has arrived: the sender begins anew."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = (self._expected or Digest("sha256", "")).new_hash()
        self.offset = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append; IntegrityError as soon as it is more than the promised size."""
        if self._size is not None and self.offset + len(data) > self._size:
            self.restart()
            raise IntegrityError(
                f"blob is longer than its size of {self._size} bytes", where=str(self._expected)
            )
        self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.restart()
            raise ImageError(
                f"cannot write a blob: {errno_text(error.errno or 0)}", where=self._name
            ) from error
        self.offset += len(data)

    def commit(self) -> tuple[Digest, int]:
        """Check size and digest, and publish the blob; its digest and size.

        Raises: IntegrityError, after which nothing of the blob is left, ImageError.
        """
        found = Digest((self._expected or Digest("sha256", "")).algorithm, self._hash.hexdigest())
        where = str(self._expected or found)
        if self._size is not None and self.offset != self._size:
            raise IntegrityError(
                f"blob has {self.offset} bytes, its descriptor says {self._size}", where=where
            )
        if self._expected is not None and found != self._expected:
            self.restart()
            raise IntegrityError("blob does not match its digest", where=where, hint=f"it has {found}")
        try:
            os.fchmod(self._fd, 0o644)
            os.fsync(self._fd)
            directory_fd = _open_for_writing(self._layout_fd, f"blobs/{found.algorithm}", 0o755)
            try:
                os.replace(self._name, found.encoded, src_dir_fd=self._partial_fd, dst_dir_fd=directory_fd)
            finally:
                os.close(directory_fd)
        except OSError as error:
            what = f"cannot publish a blob: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=where) from error
        self._name = ""
        return found, self.offset

    def close(self) -> None:
        """Give the file back; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._name and (self._expected is None or not self.offset):
            try:
                os.unlink(self._name, dir_fd=self._partial_fd)
            except FileNotFoundError:
                pass
        os.close(fd)
        os.close(self._partial_fd)


def _file_name(digest: Digest | None) -> str:
    return f"{digest.algorithm}-{digest.encoded}" if digest else f"new-{os.getpid()}-{os.urandom(8).hex()}"


def open_directory(layout_fd: int, name: str) -> int:
    """A directory of the layout, which must not be a link: whoever made the layout may have meant to lead astray.

    Raises OSError.
    """
    return openat2(
        layout_fd, name.encode(), os.O_RDONLY | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    )


def _open_for_writing(layout_fd: int, name: str, mode: int) -> int:
    """A directory of the layout, made if it is not there; raises ImageError."""
    try:
        try:
            return open_directory(layout_fd, name)
        except FileNotFoundError:
            try:
                os.mkdir(name, mode, dir_fd=layout_fd)
            except FileExistsError:
                pass
            return open_directory(layout_fd, name)
    except OSError as error:
        raise _cannot_write(error, name) from None


def _cannot_write(error: OSError, name: str) -> ImageError:
    reason = "it is a link" if error.errno == errno.ELOOP else errno_text(error.errno or 0)
    return ImageError(f"cannot write to the image layout: {reason}", where=name)


def _open_locked(directory_fd: int, name: str) -> int:
    """The partial file, locked; a file that was published or removed meanwhile is not taken."""
    while True:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=directory_fd)
        except OSError as error:
            os.close(directory_fd)
            raise _cannot_write(error, f"{PARTIAL}/{name}") from None
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            there = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.close(fd)
            continue
        mine = os.fstat(fd)
        if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
            return fd
        os.close(fd)
