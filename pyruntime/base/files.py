"""Reading a small file in three system calls: `open` would make an object with a buffer first, and ask what it is."""

import os

_AT_ONCE = 1 << 14


def read_file(path: str) -> bytes:
    """The whole content of a file.

    Raises:
        OSError: as the kernel answers.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, _AT_ONCE)
        # Files of the kernel may come in pieces, and say only by an empty one that there are no more.
        while content and (more := os.read(descriptor, _AT_ONCE)):
            content += more
    finally:
        os.close(descriptor)
    return content
