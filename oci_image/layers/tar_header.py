"""One tar header block: numbers, names and the checksum, for v7, ustar, pax and GNU archives.

Everything is bytes: names need not be UTF-8.

Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import functools
import struct
import zlib

from oci_image.errors import ImageError

BLOCK = 512
GNU_MAGIC = b"ustar  \0"
NANOSECONDS = 1_000_000_000

_FIELDS = struct.Struct("100s24s12s12s8sc100s8s64s8s8s155s12s")
_MAX_ID = (1 << 32) - 2  # 2^32-1 means "leave it" to chown
_MAX_MAJOR = 1 << 12  # the kernel's dev_t has 12 and 20 bits
_MAX_MINOR = 1 << 20
_MAX_TIME = 1 << 40  # seconds either way, 35,000 years; the kernel clamps to what the file system holds


# Shared by all that have none, and never changed.
NO_XATTRS: dict[bytes, bytes] = {}


class Entry:
    """One entry of an archive, extended headers already merged in.

    `size` counts the bytes that follow in the archive; `file_size` is the file's apparent size, which
    differs for sparse files only, whose data `segments` place as (offset, length).
    """

    __slots__ = (
        "access_time", "device_major", "device_minor", "file_size", "gid", "kind", "link_name", "mode",
        "modification_time", "name", "segments", "size", "uid", "xattrs",
    )  # fmt: skip

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    file_size: int
    modification_time: int  # nanoseconds since 1970
    access_time: int | None
    link_name: bytes
    device_major: int
    device_minor: int
    xattrs: dict[bytes, bytes]  # NO_XATTRS itself where there are none
    segments: list[tuple[int, int]] | None

    def __init__(self) -> None:
        self.name = self.link_name = b""
        self.kind = b"0"
        self.mode = self.uid = self.gid = self.size = self.file_size = self.modification_time = 0
        self.device_major = self.device_minor = 0
        self.access_time = self.segments = None
        self.xattrs = NO_XATTRS


def parse_header(block: bytes) -> tuple[Entry, bytes]:
    """The entry that a block describes by itself, and the block's magic field of 8 bytes."""
    name, owner, size, time, checksum, kind, link_name, magic, _, major, minor, prefix, _ = _FIELDS.unpack(
        block
    )
    _check_sum(block, checksum)
    entry = Entry()
    name = name.partition(b"\0")[0]
    # In GNU archives the bytes of the prefix hold times and the sparse map.
    if prefix[0] and magic[:6] == b"ustar\0":
        name = prefix.partition(b"\0")[0] + b"/" + name
    entry.name = name
    entry.kind = kind
    entry.mode, entry.uid, entry.gid = _parse_owner(owner)
    entry.size = entry.file_size = parse_number(size, "size")
    entry.modification_time = _parse_time(time)
    if link_name[0]:
        entry.link_name = link_name.partition(b"\0")[0]
    if kind in b"34":
        entry.device_major = parse_number(major, "devmajor")
        entry.device_minor = parse_number(minor, "devminor")
        if not (entry.device_major < _MAX_MAJOR and entry.device_minor < _MAX_MINOR):
            raise ImageError(f"device {entry.device_major}:{entry.device_minor} is out of range")
    return entry, magic


# Owners, modes and times repeat themselves: most fields of an archive have been seen before.
@functools.lru_cache(maxsize=4096)
def parse_number(field: bytes, name: str, *, negative: bool = False) -> int:
    """An octal number padded with spaces and zeros, or a big-endian binary one marked by its first byte."""
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big", signed=False)
        bits = 8 * len(field)
        value -= 1 << bits if first == 0xFF else 1 << (bits - 1)
        if first not in (0x80, 0xFF) or (value < 0 and not negative) or abs(value) >= 1 << 63:
            raise ImageError(f"{name} is out of range: {field!r}")
        return value
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():  # int() would take signs and underscores
        raise ImageError(f"{name} is not a number: {field!r}")
    try:
        return int(digits, 8)
    except ValueError:
        raise ImageError(f"{name} is not an octal number: {field!r}") from None


@functools.lru_cache(maxsize=4096)
def _parse_owner(fields: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid."""
    mode = parse_number(fields[:8], "mode") & 0o7777
    return mode, parse_number(fields[8:16], "uid"), parse_number(fields[16:], "gid")


@functools.lru_cache(maxsize=4096)
def _parse_time(field: bytes) -> int:
    return clamp_time(parse_number(field, "mtime", negative=True) * NANOSECONDS)


def check_ranges(entry: Entry) -> None:
    """Refuse owners that chown would misunderstand."""
    if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
        raise ImageError(
            f"owner {entry.uid}:{entry.gid} is out of range", hint=f"the highest id is {_MAX_ID}"
        )


def clamp_time(nanoseconds: int) -> int:
    """The time, moved into the range that every kernel call takes."""
    limit = _MAX_TIME * NANOSECONDS
    return max(-limit, min(limit, nanoseconds))


@functools.lru_cache(maxsize=4096)
def _promised_sum(field: bytes) -> int:
    """What all bytes of the block add up to, those of the field itself included."""
    return parse_number(field, "checksum") + sum(field) - 8 * ord(" ")


def _check_sum(block: bytes, field: bytes) -> None:
    promised = _promised_sum(field)
    # Adler-32 begins with the sum of the bytes, modulo 65521, and takes a tenth of the time of adding them here;
    # what is ASCII cannot come near the modulus.
    if block.isascii() and (zlib.adler32(block) & 0xFFFF) - 1 == promised:
        return
    if sum(block) == promised:
        return
    # Very old writers summed signed bytes.
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])
    if signed + 256 != parse_number(field, "checksum"):
        raise ImageError(
            "header checksum is wrong", hint="the layer is not a tar archive, or is damaged here"
        )
