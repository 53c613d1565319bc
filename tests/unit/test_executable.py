"""The executable of tier 1: its variables replaced by those of a program that has begun already."""

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, "startup")

from build_steps import UnavailableError, fixed_addresses, members_used_most, symbol_addresses, symbol_sizes
from executable import RANGES, Program, check_processor, range_lists

SOURCE = """
#include <stdio.h>
char text[16] = "before";
char later[8192];
int main(void) { printf("%s %s\\n", text, later); return 0; }
"""


def compiled(folder: Path) -> Path:
    """A static program that prints two of its variables, the second of which has no value in its file."""
    (folder / "p.c").write_text(SOURCE)
    words: list[str | Path] = [
        "cc",
        "-static",
        "-no-pie",
        "-Wl,-z,norelro",
        "-o",
        folder / "p",
        folder / "p.c",
    ]
    subprocess.run(words, check=True)
    return folder / "p"


def address(path: Path, name: str) -> int:
    return next(place for place, symbol in symbol_addresses(path) if symbol == name)


def test_a_variable_of_a_program_can_be_set(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    program = Program(path)
    assert program.read(address(path, "text"), 7) == b"before\0"
    program.write(address(path, "text"), b"after\0")
    program.save(tmp_path / "q")
    assert subprocess.check_output([tmp_path / "q"]) == b"after \n"


def test_all_variables_can_be_replaced_by_more_than_there_were(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    program = Program(path)
    start = program.start
    data = bytearray(program.read(start, 1 << 20))
    data += bytes(address(path, "_end") - start + 4096 - len(data))
    later = address(path, "later") - start
    data[later : later + 5] = b"more\0"
    program.replace_variables(bytes(data))
    program.save(tmp_path / "q")
    assert subprocess.check_output([tmp_path / "q"]) == b"before more\n"


def test_functions_that_only_some_processors_can_run_are_refused(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    symbols = symbol_addresses(path)
    program = Program(path)
    slots = program.read(address(path, "__rela_iplt_start"), 24)
    place = struct.unpack("<QQq", slots)[0]
    program.write(place, address(path, "main").to_bytes(8, "little"))
    special = [(start, "__memmove_avx512" if name == "main" else name) for start, name in symbols]
    with pytest.raises(UnavailableError, match="__memmove_avx512"):
        check_processor(program, special)


def test_where_addresses_cannot_be_fixed_the_build_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def personality(self, wanted: int) -> int:
            return 0 if wanted == 0xFFFFFFFF else -1

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Refusing())
    with pytest.raises(UnavailableError, match="personality"), fixed_addresses():
        pass


def test_sizes_are_those_of_variables(tmp_path: Path) -> None:
    sizes = symbol_sizes(compiled(tmp_path))
    assert (sizes["text"], sizes["later"]) == (16, 8192)


def test_pages_become_ranges_and_what_every_command_writes_to_is_no_other_stages() -> None:
    data = range_lists([[0x3000, 0x1000, 0x2000], [0x2000, 0x5000], []])
    assert len(data) == 3 * RANGES * 16
    numbers = struct.unpack(f"={len(data) // 8}Q", data)
    assert [(place, number) for place, number in enumerate(numbers) if number] == [
        (0, 0x1000), (1, 0x3000), (2 * RANGES, 0x5000), (2 * RANGES + 1, 0x1000),
    ]  # fmt: skip


def test_members_come_in_the_order_in_which_they_are_linked_and_unknown_ones_are_left_out(
    tmp_path: Path,
) -> None:
    for name in ("typeobject", "boolobject", "other"):
        (tmp_path / f"{name}.o").write_text(name)
    words: list[str | Path] = ["ar", "q", "library.a", "typeobject.o", "other.o", "boolobject.o"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    found = members_used_most(tmp_path / "library.a", tmp_path / "members")
    assert [path.read_text() for path in found] == ["boolobject", "typeobject"]
