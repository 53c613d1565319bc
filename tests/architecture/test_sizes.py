"""A file of at most 500 lines, a function of at most 50: what a reader can hold.  There is no list of exceptions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent.parent
FILE_LINES = 500
FUNCTION_LINES = 50
PLACES = ("pyruntime", "oci_image", "conformance", "tests", "startup", "scripts", ".")


def files(*suffixes: str) -> Iterator[Path]:
    for place in PLACES:
        for path in sorted((TREE / place).glob("*" if place == "." else "**/*")):
            if path.suffix in suffixes and path.is_file():
                yield path


def python_functions(path: Path) -> Iterator[tuple[int, str, int]]:
    """First line, name and number of lines of each function, decorators and docstring included."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield first, node.name, (node.end_lineno or first) - first + 1


def c_functions(text: str) -> Iterator[tuple[int, str, int]]:
    """The same for C in this project's layout: both braces of a function stand in the first column."""
    first = 0
    name = ""
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"(?=[A-Za-z_])(?:[^(]*[\s*])?(\w+)\(", line)
        if heading and not line.rstrip().endswith(";"):
            first, name = number, heading[1]
        elif line.startswith("}") and not line.startswith("};") and name:
            yield first, name, number - first + 1
            name = ""


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    too_long = []
    for path in files(".py", ".c", ".h", ".sh"):
        lines = len(path.read_text().splitlines())
        if lines > FILE_LINES:
            too_long.append(f"{path.relative_to(TREE)}: {lines} lines")
    assert not too_long, "\n".join(too_long)


def test_no_python_function_is_longer_than_a_screen() -> None:
    too_long = [
        f"{path.relative_to(TREE)}:{line} {name}: {length} lines"
        for path in files(".py")
        for line, name, length in python_functions(path)
        if length > FUNCTION_LINES
    ]
    assert not too_long, "\n".join(too_long)


def test_no_c_function_is_longer_than_a_screen() -> None:
    too_long = [
        f"{path.relative_to(TREE)}:{line} {name}: {length} lines"
        for path in files(".c", ".h")
        for line, name, length in c_functions(path.read_text())
        if length > FUNCTION_LINES
    ]
    assert not too_long, "\n".join(too_long)


def test_c_functions_are_measured() -> None:
    text = "static int\nother(int a)\n{\n    return a;\n}\n\nint main(void)\n{\n    for (;;) {\n    }\n}\n"
    assert list(c_functions(text)) == [(2, "other", 4), (7, "main", 5)]
