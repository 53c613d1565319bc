"""Names say what a module is about; a drawer for everything is not a subject."""

import re
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent.parent
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "tools", "lib"}
PROPER_NAME = "runtime_tools"  # the name of somebody else's project
PACKAGES = ("pyruntime", "oci_image", "conformance")


def test_no_module_is_a_drawer() -> None:
    found = [
        str(path.relative_to(TREE))
        for package in (*PACKAGES, "tests")
        for path in (TREE / package).rglob("*")
        if path.suffix in ("", ".py", ".c", ".h")
        and DRAWERS & set(path.stem.replace(PROPER_NAME, "").split("_"))
    ]
    assert not found, "\n".join(found)


def test_modules_are_named_in_lower_case() -> None:
    found = [
        str(path.relative_to(TREE))
        for package in PACKAGES
        for path in (TREE / package).rglob("*.py")
        if not re.fullmatch(r"[a-z][a-z0-9_]*|__init__|__main__", path.stem)
    ]
    assert not found, "\n".join(found)
