"""Reads config.json."""

import os

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError
from pyruntime.base.jsonio import LARGEST_DOCUMENT, loads
from pyruntime.spec.config import Config


def read_config(path: str) -> tuple[Config, bytes]:
    """The config and the text that it was read from.

    Raises:
        SpecError: the file is missing, is not JSON, or does not have the form of a config.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = "name the bundle with --bundle, or make a config with: pyruntime spec"
        raise SpecError("JSON specification file config.json not found", where=path, hint=hint) from None
    try:
        parts: list[bytes] = []
        while (part := os.read(descriptor, 1 << 16)) and len(parts) * (1 << 16) <= LARGEST_DOCUMENT:
            parts.append(part)
    except IsADirectoryError:
        raise SpecError("config.json cannot be read", where=path, hint="it must be a file") from None
    finally:
        os.close(descriptor)
    text = b"".join(parts)
    return decode_config(text), text


def decode_config(text: bytes) -> Config:
    """Decode the text of a config.

    Raises:
        SpecError: as `read_config`; `where` is a JSON pointer.
    """
    return decode(Config, loads(text, where="config.json"))
