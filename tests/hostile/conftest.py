"""What all attacks have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.place import Place, snapshot


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    victim = tmp_path / "victim"
    (victim / "directory").mkdir(parents=True)
    (victim / "file").write_bytes(b"precious")
    (victim / "directory/file").write_bytes(b"precious")
    (victim / "secret").symlink_to("file")
    before = snapshot(victim)
    yield Place(tmp_path, victim, tmp_path / "bundle/rootfs")
    assert snapshot(victim) == before
