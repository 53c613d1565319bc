"""Reading a small file in three system calls: `open` would make an object with a buffer first, and ask what it is."""

import os

_AT_ONCE = 1 << 14
_ALL = 1 << 62


def read_file(path: str, limit: int = _ALL) -> bytes:
    """The content of a file; of one that is larger than `limit` bytes a little more than these.

    Raises:
        OSError: as the kernel answers; `filename` is set if the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_descriptor(descriptor, limit)
    finally:
        os.close(descriptor)


def read_once(path: str, size: int) -> bytes:
    """What the first read of up to `size` bytes gives: all of a small file of the kernel's that comes in one piece.

    Raises:
        OSError: as the kernel answers.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, limit: int = _ALL) -> bytes:
    """The same of a descriptor, from where it stands."""
    parts: list[bytes] = []
    size = 0
    # Files of the kernel may come in pieces, and say only by an empty one that there are no more.
    while size <= limit and (part := os.read(descriptor, _AT_ONCE)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
