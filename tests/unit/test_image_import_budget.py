"""What each verb of oci-image imports: a mount takes less time than a module too many."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.image_builder import file, make_layout, tar

TREE = Path(__file__).resolve().parents[2]
START = """
import sys
sys.path += sys.argv.pop(1).split(":")
from oci_image.cli.main import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write("MODULES " + " ".join(sorted(sys.modules)))
"""

# None of these belongs to what images on this machine take.
NETWORK = {"urllib3", "http", "ssl", "socket", "email", "urllib.parse", "ipaddress", "concurrent.futures"}
HEAVY = {
    "logging",
    "subprocess",
    "tempfile",
    "random",
    "secrets",
    "tarfile",
    "jsonschema",
    "traceback",
    "pathlib",
    "typing",
    "dataclasses",
    "inspect",
    "concurrent.futures",
}
CODECS = {"bz2", "lzma", "zstandard", "shutil"}


def modules_of(*words: str) -> set[str]:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    result = subprocess.run(
        [sys.executable, "-ISc", START, f"{TREE}:{packages}", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ("unpack", "--rootless", "--platform", "linux/amd64", "--image", "LAYOUT", "BUNDLE"),
        ("mount", "BUNDLE"),
        ("unmount", "BUNDLE"),
        ("snapshots", "--snapshots", "SNAPSHOTS", "list"),
        ("gc", "--store", "LAYOUT"),
        ("tag", "--store", "LAYOUT", "latest", "other"),
        ("list", "--store", "LAYOUT"),
        ("inspect", "oci:LAYOUT:latest"),
        ("history", "oci:LAYOUT:latest"),
        ("stat", "oci:LAYOUT:latest"),
        ("copy", "oci:LAYOUT:latest", "oci:BUNDLE:latest"),
        ("config", "--store", "LAYOUT", "--env", "A=b", "latest"),
        ("new", "--store", "LAYOUT", "other"),
        ("remove", "--store", "LAYOUT", "latest"),
        ("init", "BUNDLE"),
    ],
    ids=lambda words: words[0],
)
def test_a_local_verb_stays_within_the_budget(tmp_path: Path, words: tuple[str, ...]) -> None:
    places = {name: str(tmp_path / name.lower()) for name in ("LAYOUT", "BUNDLE", "SNAPSHOTS")}
    make_layout(places["LAYOUT"], tar(file(b"f")))
    for name, path in places.items():
        words = tuple(word.replace(name, path) for word in words)
    found = modules_of(*words)
    assert sorted(found & (NETWORK | HEAVY | CODECS)) == []


def test_the_version_takes_no_verb() -> None:
    found = modules_of("--version")
    assert not {name for name in found if name.startswith("oci_image.verbs.")}


def test_a_further_bundle_of_a_known_image_takes_next_to_nothing(tmp_path: Path) -> None:
    found = modules_of("unpack", "--snapshot", "auto", "--snapshots", str(tmp_path), "--image", "x", "--help")
    assert sorted(found & NETWORK) == []
    code = (
        f"import sys; sys.path.append({str(TREE)!r}); before = set(sys.modules);"
        "import oci_image.snapshots.known; print(*(set(sys.modules) - before))"
    )
    known = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, check=True)
    heavy = {"argparse", "json", "re", "typing", "dataclasses", "hashlib", "enum", "collections", "inspect"}
    assert sorted(set(known.stdout.split()) & heavy) == []
