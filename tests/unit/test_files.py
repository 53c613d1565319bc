"""Reading whole files."""

import os
import threading
from pathlib import Path

import pytest

from pyruntime.base.files import read_file


@pytest.mark.parametrize("size", [0, 1, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, 100_000])
def test_a_file_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert read_file(str(tmp_path / "file")) == content


def test_what_comes_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def write() -> None:
        with fifo.open("wb", buffering=0) as file:
            for piece in (b"one ", b"two ", b"three"):
                file.write(piece)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_file(str(fifo)) == b"one two three"
    writer.join()


def test_the_errors_are_the_kernels(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(str(tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        read_file(str(tmp_path))
