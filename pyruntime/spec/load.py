"""Reads config.json."""

from pyruntime.base.decode import decode
from pyruntime.base.errors import HostError, SpecError, errno_text
from pyruntime.base.files import read_file
from pyruntime.base.jsonio import LARGEST_DOCUMENT, loads
from pyruntime.spec.annotations import with_annotations
from pyruntime.spec.config import Config


def read_config(path: str) -> tuple[Config, bytes]:
    """The config and the text that it was read from.

    Raises:
        SpecError: the file is missing, is not JSON, or does not have the form of a config; the hint names every fault.
        HostError: it cannot be read.
    """
    text = read_text(path)
    document = loads(text, where="config.json")
    try:
        return with_annotations(decode(Config, document)), text
    except SpecError as fault:
        from pyruntime.spec.explain import with_schema_faults

        raise with_schema_faults(fault, document) from None


def decode_config(text: bytes, *, without: tuple[str, ...] = ()) -> Config:
    """Decode the text of a config that has been read before, `without` some of its properties.

    Raises:
        SpecError: the first fault; `where` is a JSON pointer.
    """
    document = loads(text, where="config.json")
    if isinstance(document, dict):
        for name in without:
            document.pop(name, None)
    return with_annotations(decode(Config, document))


def read_text(path: str) -> bytes:
    """The text of a config, which `loads` may still refuse.

    Raises:
        SpecError: the file is missing.
        HostError: it cannot be read.
    """
    try:
        return read_file(path, LARGEST_DOCUMENT)
    except FileNotFoundError:
        hint = "name the bundle with --bundle, or make a config with: pyruntime spec"
        raise SpecError("JSON specification file config.json not found", where=path, hint=hint) from None
    except OSError as error:
        raise HostError(f"cannot read the config: {errno_text(error.errno or 0)}", where=path) from None
