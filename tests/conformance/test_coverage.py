"""Every binding sentence of the specification is shown by a requirement, or it is said why it cannot be."""

import json
import os
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from conformance.__main__ import CACHE
from conformance.requirement import Level
from conformance.requirements import REQUIREMENTS
from conformance.runtime_tools.programs import find_go
from conformance.specification import FILES, headings_of, load_coverage, sentences_of

MODULE = "github.com/opencontainers/runtime-spec@v1.3.0"
NAMES = [one.identifier for one in REQUIREMENTS]


def test_each_sentence_is_shown_or_it_is_said_why_not() -> None:
    entries = load_coverage()
    assert len(entries) > 300
    for entry in entries:
        assert bool(entry.shown_by) != bool(entry.why_not), entry.sentence
        for pattern in entry.shown_by:
            assert any(fnmatchcase(name, pattern) for name in NAMES), (pattern, entry.sentence)


def test_sentences_are_taken_apart() -> None:
    text = """# Heading One
Some MUST hold, e.g. `this` one. Others [SHOULD](x.md) hold: `a`.

```json
"MUST": "not be read"
```
## <a name="x" />Second, heading
* **`item`** (string, REQUIRED) is
  here.
| `row` | MUST | [^1]
"""
    assert [(one.place, one.text) for one in sentences_of("a.md", text)] == [
        ("a.md#heading-one", "Some MUST hold, e.g. `this` one."),
        ("a.md#heading-one", "Others SHOULD hold:"),
        ("a.md#second-heading", "`item` (string, REQUIRED) is here."),
        ("a.md#second-heading", "`row` | MUST"),
    ]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The files of the specification, through the proxy of Go modules."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("cgroup v1 host compares the texts; a virtual machine has no network")
    environment = {**os.environ, "GOPATH": str(CACHE / "go"), "GOFLAGS": "-modcacherw -mod=mod"}
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [find_go(CACHE, download=True), "mod", "download", "-json", MODULE]
    result = subprocess.run(
        command, cwd=CACHE, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    folder = Path(json.loads(result.stdout)["Dir"])
    return {name: (folder / name).read_text() for name in FILES}


@pytest.mark.privileged
def test_the_list_has_the_sentences_of_the_specification(texts: dict[str, str]) -> None:
    found = [sentence for name in FILES for sentence in sentences_of(name, texts[name])]
    assert [entry.sentence for entry in load_coverage()] == found


@pytest.mark.privileged
def test_requirements_point_at_headings_of_the_specification(texts: dict[str, str]) -> None:
    headings = set().union(*(headings_of(name, text) for name, text in texts.items()))
    for one in REQUIREMENTS:
        assert one.anchor in headings or (one.level is Level.CALLERS and not one.anchor), one
