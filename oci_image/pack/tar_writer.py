"""Writing a tar archive whose bytes depend on nothing but its entries.

A plain ustar header wherever it can say everything; what it cannot say goes into a pax header before it,
records sorted.  Owners are numbers without names, access times are left out.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Storing
Sparse Files".
"""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.layers.rootdir import show
from oci_image.layers.tar_header import BLOCK, NANOSECONDS, Entry
from oci_image.layers.tar_reader import DIRECTORY, REGULAR
from oci_image.layers.whiteouts import OPAQUE, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_OCTAL_7 = 0o7777777
_MAX_OCTAL_11 = 0o77777777777
_RECORD = 20 * BLOCK  # what archives are padded to by everybody


class TarWriter:
    """Writes entries in the order in which they are added; `finish` ends the archive."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write_out = write
        self._size = 0

    def add(self, entry: Entry, data: Iterable[bytes] = ()) -> None:
        """One entry; `data` are the bytes that follow, exactly `entry.size` of them.

        With `entry.segments` the data are those of the segments, one after the other.  Raises: ImageError
        if there are more or fewer bytes than promised, as of a file that changes meanwhile.
        """
        records, name, prelude = _records(entry)
        if records:
            body = b"".join(_record(key, records[key]) for key in sorted(records))
            self._block(_header(b"PaxHeaders/" + name[-80:].lstrip(b"/"), b"x", Entry(), len(body)))
            self._padded(body)
        self._block(_header(name, entry.kind, entry, len(prelude) + entry.size))
        self._block(prelude)
        written = 0
        for piece in data:
            written += len(piece)
            if written > entry.size:
                break
            self._block(piece)
        if written != entry.size:
            what = f"file changed while it was packed: {written} bytes instead of {entry.size}"
            raise ImageError(what, where=f"entry {show(entry.name)}", hint="stop what writes to the tree")
        self._block(bytes(-entry.size % BLOCK))

    def add_whiteout(self, parent: bytes, name: bytes) -> None:
        """Hide `name` of the layers below in the directory `parent`."""
        self._mark((parent + b"/" if parent else b"") + PREFIX + name)

    def add_opaque(self, parent: bytes) -> None:
        """Hide all that the layers below have in the directory `parent`."""
        self._mark((parent + b"/" if parent else b"") + OPAQUE)

    def _mark(self, name: bytes) -> None:
        entry = Entry()
        entry.name, entry.kind = name, REGULAR
        self.add(entry)

    def finish(self) -> None:
        """The end of the archive; padded as tar programs do."""
        self._block(bytes(2 * BLOCK))
        self._block(bytes(-self._size % _RECORD))

    def _padded(self, data: bytes) -> None:
        self._block(data)
        self._block(bytes(-len(data) % BLOCK))

    def _block(self, data: bytes) -> None:
        if data:
            self._size += len(data)
            self._write_out(data)


def _records(entry: Entry) -> tuple[dict[bytes, bytes], bytes, bytes]:
    """Pax records, the name for the header, and what stands before the data."""
    name = entry.name + b"/" if entry.kind == DIRECTORY and not entry.name.endswith(b"/") else entry.name
    records: dict[bytes, bytes] = {}
    prelude = b""
    if entry.segments is not None:
        numbers = [len(entry.segments), *(number for pair in entry.segments for number in pair)]
        prelude = b"".join(b"%d\n" % number for number in numbers)
        prelude += bytes(-len(prelude) % BLOCK)
        records |= {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": name,
            b"GNU.sparse.realsize": b"%d" % entry.file_size,
        }
    elif _split(name) is None:
        records[b"path"] = name
    if len(entry.link_name) > 100 or not entry.link_name.isascii():
        records[b"linkpath"] = entry.link_name
    for key, value, limit in (
        (b"uid", entry.uid, _MAX_OCTAL_7),
        (b"gid", entry.gid, _MAX_OCTAL_7),
        (b"size", len(prelude) + entry.size, _MAX_OCTAL_11),
    ):
        if value > limit:
            records[key] = b"%d" % value
    seconds, fraction = divmod(entry.modification_time, NANOSECONDS)
    if fraction or not 0 <= seconds <= _MAX_OCTAL_11:
        records[b"mtime"] = _time(entry.modification_time)
    records |= {b"SCHILY.xattr." + attribute: content for attribute, content in entry.xattrs.items()}
    return records, name, prelude


def _time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), NANOSECONDS)
    return sign + (b"%d.%09d" % (seconds, fraction)).rstrip(b"0").rstrip(b".")


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value\\n`, where the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %s=%s\n" % (length, key, value)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name for the two fields of a header; None if they cannot hold it."""
    if not name.isascii():
        return None
    if len(name) <= 100:
        return b"", name
    cut = name.find(b"/", max(len(name) - 101, 1), 156)
    if cut < 0 or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def _header(name: bytes, kind: bytes, entry: Entry, size: int) -> bytes:
    prefix, short = _split(name) or (b"", name[:100])
    seconds = entry.modification_time // NANOSECONDS
    block = b"".join(
        (
            short.ljust(100, b"\0"),
            b"%07o\0" % (entry.mode & 0o7777),
            b"%07o\0" % (entry.uid if entry.uid <= _MAX_OCTAL_7 else 0),
            b"%07o\0" % (entry.gid if entry.gid <= _MAX_OCTAL_7 else 0),
            b"%011o\0" % (size if size <= _MAX_OCTAL_11 else 0),
            b"%011o\0" % (seconds if 0 <= seconds <= _MAX_OCTAL_11 else 0),
            b" " * 8,
            kind,
            entry.link_name[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0" % entry.device_major,
            b"%07o\0" % entry.device_minor,
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
