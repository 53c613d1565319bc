"""The examples of docs/library.md do what the page says, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.faulty_registry import FaultyRegistry

PAGE = Path(__file__).resolve().parents[2] / "docs/library.md"


def examples(heading: str) -> list[tuple[int, str]]:
    """Line and text of each example below a heading of the second level."""
    text = PAGE.read_text()
    begin = text.index(f"\n## {heading}")
    end = text.find("\n## ", begin + 1)
    part = text[begin : end if end > 0 else len(text)]
    return [
        (text[: begin + found.start()].count("\n") + 2, found[1])
        for found in re.finditer(r"^```python\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    ]


def test_the_examples_about_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    found = examples("Images")
    assert len(found) > 8
    names: dict[str, Any] = {}
    with FaultyRegistry(b"", token=1) as registry:
        for line, text in found:
            code = text.replace("localhost:5000", registry.address)
            # The blank lines in front let errors name the line of the page.
            exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), names)
