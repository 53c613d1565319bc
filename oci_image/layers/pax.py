"""Extended headers: pax records and what they override in an entry.

Source: POSIX.1-2017 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

import base64
import binascii

from oci_image.errors import ImageError
from oci_image.layers.tar_header import NANOSECONDS, NO_XATTRS, Entry, clamp_time

Records = list[tuple[bytes, bytes]]

_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_MAX_DIGITS = 20


def parse_records(data: bytes) -> Records:
    """Split `length key=value newline` records; a record's length counts itself."""
    records: Records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + _MAX_DIGITS)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise ImageError("malformed pax record: no length")
        end = position + int(digits)
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n":
            raise ImageError("malformed pax record: wrong length")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise ImageError("malformed pax record: no key")
        records.append((key, value))
        position = end
    return records


def apply_records(entry: Entry, records: Records) -> None:
    """Let the records override the entry's fields; sparse maps are left to layers/sparse.py.

    An empty value means that the header block's own value holds, since global headers are ignored.
    """
    for key, value in records:
        if not value and not key.startswith((_SCHILY, _LIBARCHIVE)):
            continue
        if key == b"path":
            entry.name = _name(value, "path")
        elif key == b"linkpath":
            entry.link_name = _name(value, "linkpath")
        elif key == b"size":
            entry.size = entry.file_size = pax_number(value, "size")
        elif key == b"uid":
            entry.uid = pax_number(value, "uid")
        elif key == b"gid":
            entry.gid = pax_number(value, "gid")
        elif key == b"mtime":
            entry.modification_time = parse_time(value)
        elif key == b"atime":
            entry.access_time = parse_time(value)
        elif key.startswith(_SCHILY):
            _add_xattr(entry, key[len(_SCHILY) :], value)
        elif key.startswith(_LIBARCHIVE):
            from urllib.parse import unquote_to_bytes  # four milliseconds, and only libarchive writes these

            _add_xattr(entry, unquote_to_bytes(key[len(_LIBARCHIVE) :]), _base64(value))


def pax_number(value: bytes, name: str) -> int:
    """A decimal number that is not negative."""
    if not value.isdigit() or len(value) > _MAX_DIGITS or (number := int(value)) >= 1 << 63:
        raise ImageError(f"pax {name} is not a number or out of range: {value[:40]!r}")
    return number


def parse_time(value: bytes) -> int:
    """Decimal seconds, with sign and fraction, as nanoseconds; finer digits are cut towards the past."""
    negative = value.startswith(b"-")
    whole, _, fraction = value[negative:].partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()) or len(value) > 100:
        raise ImageError(f"pax time is not a number: {value[:40]!r}")
    nanoseconds = int(whole) * NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    if negative:
        nanoseconds = -nanoseconds - (1 if fraction[9:].strip(b"0") else 0)
    return clamp_time(nanoseconds)


def _name(value: bytes, key: str) -> bytes:
    if b"\0" in value:
        raise ImageError(f"pax {key} holds a zero byte")
    return value


def _add_xattr(entry: Entry, name: bytes, value: bytes) -> None:
    if not name or b"\0" in name or len(name) > 255 or len(value) > 65536:
        raise ImageError(f"invalid extended attribute {name[:80]!r} of {len(value)} bytes")
    if entry.xattrs is NO_XATTRS:
        entry.xattrs = {}
    entry.xattrs[name] = value


def _base64(value: bytes) -> bytes:
    try:
        # libarchive leaves the padding away.
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise ImageError("extended attribute is not base64") from None
