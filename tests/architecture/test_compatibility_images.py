"""docs/compatibility-images.md names a test for each row that says yes, and each of them exists."""

import ast
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_test_of_the_page_on_images_exists() -> None:
    lines = (TREE / "docs/compatibility-images.md").read_text().partition("\n## Exit codes")[0].splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("| ")]
    named = [row for row in rows if row[-1] != "Test"]
    assert len(named) > 40
    for row in named:
        if row[-1] == "-":
            assert "no" in row[1:3], f"{row[0]}: has no test"
            continue
        file, _, name = row[-1].partition("::")
        assert (TREE / "tests" / file).is_file(), f"{row[0]}: there is no {file}"
        assert name in functions_in(TREE / "tests" / file), f"{row[0]}: {file} has no {name}"
