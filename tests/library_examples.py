"""The examples of docs/library.md, to be run in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs/library.md"


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


def run_example(line: int, code: str, names: dict[str, Any]) -> None:
    """Run one; the blank lines in front let errors name the line of the page."""
    exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), names)
