"""What the build writes into the executable of tier 1; see saved_heap/README.md."""

import os
import re
import struct
import sys
from pathlib import Path

from build_steps import UnavailableError, symbol_at

PAGE = 4096
# As in written_pages.c.
RANGES = 1024
# How a static program's C library chooses functions (Elf64_Rela), and what those are called that not every x86-64 has.
RELOCATION = struct.Struct("<QQq")
SPECIAL = re.compile("avx|bmi|erms|evex|fma|lzcnt|popcnt|rtm|sse3|sse4")


class Program:
    """A static executable of 64 bits, whose variables are its last segment (elf(5))."""

    _HEADER = struct.Struct("16sHHIQQQIHHHHHH")
    _SEGMENT = struct.Struct("IIQQQQQQ")
    _LOAD, _WRITABLE = 1, 2

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        header = self._HEADER.unpack_from(data)
        self._first, count = header[5], header[9]
        table = data[self._first : self._first + count * self._SEGMENT.size]
        self._segments = [*self._SEGMENT.iter_unpack(table)]
        for number, segment in enumerate(self._segments):
            if segment[0] == self._LOAD and segment[1] & self._WRITABLE:
                self._number, self._segment = number, segment
        self.start = self._segment[3]
        """The address of the first variable."""
        offset, size = self._segment[2], self._segment[5]
        self._before, self._variables = bytearray(data[:offset]), bytearray(data[offset : offset + size])
        # There are no sections any more.
        self._before[: self._HEADER.size] = self._HEADER.pack(*header[:6], 0, *header[7:11], 0, 0, 0)

    def read(self, address: int, size: int) -> bytes:
        """What lies at an address."""
        start = address - self.start
        if 0 <= start < len(self._variables):
            return bytes(self._variables[start : start + size])
        for segment in self._segments:
            if segment[0] == self._LOAD and segment[3] <= address < segment[3] + segment[5]:
                start = segment[2] + address - segment[3]
                return bytes(self._before[start : start + size])
        return b""

    def write(self, address: int, data: bytes) -> None:
        """Set variables at an address."""
        start = address - self.start
        self._variables[start : start + len(data)] = data

    def replace_variables(self, data: bytes) -> None:
        """Set all variables, those without a value in the file, too, and memory that follows them."""
        self._variables[:] = data
        place = self._first + self._number * self._SEGMENT.size
        sizes = len(data), len(data)
        self._SEGMENT.pack_into(self._before, place, *self._segment[:5], *sizes, self._segment[7])

    def save(self, path: Path) -> None:
        """Write an executable without symbols."""
        path.write_bytes(self._before + self._variables)
        path.chmod(0o755)


def whole_programs() -> bool:
    """Whether whole_program.c has code for this processor."""
    return os.uname().machine == "x86_64" and sys.maxsize > 1 << 32


def check_processor(program: Program, symbols: list[tuple[int, str]]) -> None:
    """What the C library has chosen must run on every processor of this architecture, not only on this one.

    Raises:
        UnavailableError: it is for some only.
    """
    start, end = (
        next(address for address, symbol in symbols if symbol == f"__rela_iplt_{which}")
        for which in ("start", "end")
    )
    for slot, _kind, _choose in RELOCATION.iter_unpack(program.read(start, end - start)):
        name = symbol_at(symbols, int.from_bytes(program.read(slot, 8), "little"))
        if SPECIAL.search(name):
            raise UnavailableError(f"the C library has chosen {name}")


def range_lists(stages: list[list[int]]) -> bytes:
    """What written_pages.c wants, for the addresses of pages that each stage writes to; the first stage comes first."""
    first, *others = stages
    lists = [first, *({*pages}.difference(first) for pages in others)]
    return b"".join(_range_list(sorted(pages)) for pages in lists)


def _range_list(pages: list[int]) -> bytes:
    bounds: list[list[int]] = []
    for page in pages:
        if bounds and bounds[-1][1] == page:
            bounds[-1][1] += PAGE
        else:
            bounds.append([page, page + PAGE])
    vectors = ((start, end - start) for start, end in bounds[:RANGES])
    data = b"".join(number.to_bytes(8, sys.byteorder) for vector in vectors for number in vector)
    return data.ljust(RANGES * 16, b"\0")
