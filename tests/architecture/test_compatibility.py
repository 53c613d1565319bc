"""docs/compatibility.md and docs/attacks.md name a test for each row, and each of them exists."""

import ast
import re
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (?P<what>.+?) \| (?:[^|]* \| ){3}(?P<test>[^|]+) \|$")
OPEN = "*open*"


def rows() -> list[tuple[str, str]]:
    lines = (TREE / "docs/compatibility.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("| ") and not line.startswith("| row |")]
    matches = [ROW.match(line) for line in tables]
    assert None not in matches, [line for line, match in zip(tables, matches, strict=True) if match is None]
    return [(match["what"], match["test"].strip()) for match in matches if match is not None]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_test_that_the_table_names_exists() -> None:
    found = rows()
    assert len(found) > 50
    for what, test in found:
        if test == OPEN:
            continue
        file, _, name = test.partition("::")
        path = TREE / "tests" / file
        assert path.is_file(), f"{what}: there is no {path}"
        assert name in functions_in(path), f"{what}: {file} has no {name}"


def test_each_attack_names_a_test_that_exists() -> None:
    lines = (TREE / "docs/attacks.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("| ") and not line.startswith("| Attack |")]
    assert len(tables) > 30
    for line in tables:
        found = re.search(r"`([a-z_/]+\.py)::(\w+)` \|$", line)
        assert found, line
        assert found[2] in functions_in(TREE / "tests" / found[1]), line
