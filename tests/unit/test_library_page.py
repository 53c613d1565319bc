"""The examples of docs/library.md do what the page says, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faulty_registry import FaultyRegistry
from tests.library_examples import examples, run_example


def test_the_examples_about_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    found = examples("Images")
    assert len(found) > 8
    names: dict[str, Any] = {}
    with FaultyRegistry(b"", token=1) as registry:
        for line, text in found:
            code = text.replace("localhost:5000", registry.address)
            run_example(line, code, names)
