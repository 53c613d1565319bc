"""The verbs of oci-image parse arguments and print; what they do is the library, which programs call as well."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import oci_image.api

TREE = Path(__file__).resolve().parents[2]
VERBS = sorted((TREE / "oci_image/verbs").glob("*.py"))

# What parsing and printing take.  Files, processes, sockets, digests and archives are the library's.
OF_THE_STANDARD_LIBRARY = {
    "__future__", "argparse", "collections.abc", "contextlib", "dataclasses", "getpass", "json", "os", "sys",
    "typing",
}  # fmt: skip
# Of os only what says something about this process.
OF_OS = {"environ"}
OF_THE_COMMAND_LINE = ("oci_image.cli", "oci_image.verbs", "oci_image.snapshots.known")
BUILTINS_OF_THE_LIBRARY = {"open", "eval", "exec", "compile"}


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, module and name ("" for the module itself)."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            yield from ((node.lineno, node.module or "", alias.name) for alias in node.names)


def test_what_a_verb_uses_of_the_image_tool_is_public() -> None:
    public = {id(getattr(oci_image.api, name)) for name in oci_image.api.__all__}
    found = [
        f"{path.name}:{line}: {module}.{name}"
        for path in VERBS
        for line, module, name in imports(path)
        if module.startswith("oci_image")
        and not module.startswith(OF_THE_COMMAND_LINE)
        and id(getattr(importlib.import_module(module), name)) not in public
    ]
    assert not found, "not in oci_image.api:\n" + "\n".join(found)


def test_a_verb_imports_nothing_that_is_private_or_does_the_work() -> None:
    found = []
    for path in VERBS:
        for line, module, name in imports(path):
            top = module.split(".")[0]
            if name.startswith("_") or (module != "__future__" and module.rpartition(".")[2].startswith("_")):
                found.append(f"{path.name}:{line}: {module}.{name} is private")
            elif top == "pyruntime" and module != "pyruntime.base.errors":
                found.append(f"{path.name}:{line}: {module} is the runtime's")
            elif top not in ("oci_image", "pyruntime") and module not in OF_THE_STANDARD_LIBRARY:
                found.append(f"{path.name}:{line}: {module} is for the library")
    assert not found, "\n".join(found)


def test_a_verb_touches_no_file() -> None:
    found = []
    for path in VERBS:
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in BUILTINS_OF_THE_LIBRARY:
                    found.append(f"{path.name}:{node.lineno}: {node.func.id}()")
            elif (
                isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr not in OF_OS
            ):
                found.append(f"{path.name}:{node.lineno}: os.{node.attr}")
    assert not found, "\n".join(found)


def test_the_library_is_typed_and_says_what_it_does() -> None:
    found = []
    for name in oci_image.api.__all__:
        value = getattr(oci_image.api, name)
        if callable(value) and not (getattr(value, "__doc__", "") or "").strip():
            found.append(f"{name} has no docstring")
    assert not found, "\n".join(found)
    imported = {alias for _, _, alias in imports(TREE / "oci_image/api.py")}
    assert len(imported) >= len(oci_image.api.__all__) - 2


def test_the_library_prints_nothing_and_ends_no_program() -> None:
    found = [
        f"{path.relative_to(TREE)}:{node.lineno}: sys.{node.attr}"
        for path in sorted((TREE / "oci_image").rglob("*.py"))
        if path.parent.name not in ("verbs", "cli")
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
        and node.attr in ("stdout", "stderr", "stdin", "exit")
    ]
    assert not [line for line in found if "__main__" not in line], "\n".join(found)
