"""The rooms and the direction of imports between them, read from the sources.

A type-only import counts as well: what a room knows of, it depends on.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent.parent

# Each room may import those before it.  `plan` comes before `host` on purpose: it is pure, and `host` fills in the
# facts that `plan` declares.
ROOMS = ("base", "spec", "plan", "host", "execute", "store", "verbs", "cli")
# Modules of pyruntime that stand outside of the rooms, and what they may import.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "": (),
    "version": (),
    "api": ROOMS[: ROOMS.index("cli")],
    "__main__": ROOMS,
}
# The verbs share what `interface` declares; beyond that one verb may be built on another.
OF_EVERYBODY = ("version", "")

OCI_IMAGE_OF_PYRUNTIME = ("base", "version")

# Not even for a type: the plan is made from values alone.
PURE_STANDARD_LIBRARY = {"__future__", "collections.abc", "errno", "stat", "struct", "typing"}


def sources(package: str) -> list[Path]:
    return sorted((TREE / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = list(path.relative_to(TREE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported: `from a import b` yields a.b, which may be a module."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = ".".join(above[: len(above) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def room_of(module: str) -> str:
    """`base` for pyruntime.base.record; "" for pyruntime itself."""
    return module.split(".")[1] if "." in module else ""


def allowed_rooms(room: str) -> tuple[str, ...]:
    if room in ROOMS:
        return (*ROOMS[: ROOMS.index(room) + 1], *OF_EVERYBODY)
    return (*OUTSIDE[room], *OF_EVERYBODY)


def complaints_about(path: Path) -> list[str]:
    room = room_of(module_name(path))
    if room not in ROOMS and room not in OUTSIDE:
        return [f"{path.relative_to(TREE)} is in no room: {', '.join(ROOMS)}"]
    found = []
    for line, name in imports(path):
        top = name.split(".")[0]
        place = f"{path.relative_to(TREE)}:{line}"
        if top in ("oci_image", "conformance", "tests"):
            found.append(f"{place} imports {name}: pyruntime stands alone")
        elif top == "pyruntime":
            target = room_of(name)
            if target not in ROOMS and target not in OUTSIDE:
                target = ""  # an attribute of the package, such as __version__
            if target not in allowed_rooms(room):
                found.append(f"{place} imports {name}: {room} may import {', '.join(allowed_rooms(room))}")
    return found


def test_each_room_imports_only_the_rooms_above_it() -> None:
    found = [line for path in sources("pyruntime") for line in complaints_about(path)]
    assert not found, "\n".join(found)


def test_every_room_is_there() -> None:
    for room in ROOMS:
        assert (TREE / "pyruntime" / room / "__init__.py").is_file(), room


def test_the_plan_room_imports_nothing_that_could_touch_the_machine() -> None:
    found = [
        f"{path.relative_to(TREE)}:{line} imports {name}"
        for path in sources("pyruntime/plan")
        for line, name in imports(path)
        if name.split(".")[0] != "pyruntime"
        and name not in PURE_STANDARD_LIBRARY
        and name.rpartition(".")[0] not in PURE_STANDARD_LIBRARY
    ]
    assert not found, "\n".join(found)


def test_the_image_tool_shares_only_the_base_with_the_runtime() -> None:
    found = [
        f"{path.relative_to(TREE)}:{line} imports {name}"
        for path in sources("oci_image")
        for line, name in imports(path)
        if (name.split(".")[0] == "pyruntime" and room_of(name) not in OCI_IMAGE_OF_PYRUNTIME)
        or name.split(".")[0] in ("conformance", "tests")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ["model", "store", "layers"])
def test_the_image_tools_inner_rooms_know_neither_verbs_nor_command_line(room: str) -> None:
    found = [
        f"{path.relative_to(TREE)}:{line} imports {name}"
        for path in sources(f"oci_image/{room}")
        for line, name in imports(path)
        if name.startswith(("oci_image.verbs", "oci_image.cli"))
    ]
    assert not found, "\n".join(found)


def test_conformance_judges_from_the_outside() -> None:
    found = [
        f"{path.relative_to(TREE)}:{line} imports {name}"
        for path in sources("conformance")
        for line, name in imports(path)
        if name.split(".")[0] in ("pyruntime", "oci_image", "tests")
    ]
    assert not found, "\n".join(found)


def test_a_wrong_import_is_noticed() -> None:
    assert "host" not in allowed_rooms("plan")
    assert "verbs" not in allowed_rooms("store")
    assert "cli" not in allowed_rooms("verbs")
