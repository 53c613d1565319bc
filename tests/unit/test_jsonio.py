"""Reading and writing JSON without the json module, which is the oracle here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyruntime.base.errors import SpecError
from pyruntime.base.jsonio import LARGEST_DOCUMENT, dumps, loads

DOCUMENTS = [
    "{}",
    " \t\r\n[1, -2, 3.5, 1e3, true, false, null] \n",
    '{"a": {"b": ["\\u00e9\\ud83d\\ude00", "é", "\\"\\\\\\/"]}, "a": 1}',
    '"text"',
    "18446744073709551616",
]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_json_reads_is_read_alike(text: str) -> None:
    assert loads(text) == json.loads(text)
    assert loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (b"", "expecting value", "line 1, column 1"),
        (b'{"a": 1,\n "b" 2}', "expecting ':' delimiter", "line 2, column 6"),
        (b"[1, 2", "expecting ',' delimiter", "line 1, column 6"),
        (b"{} {}", "extra data", "line 1, column 4"),
        (b'"a\nb"', "invalid control character", "line 1, column 3"),
        (b'"caf\xe9"', "not UTF-8", "byte 4"),
        ('"é"'.encode("utf-16"), "not UTF-8", "byte 0"),
        (b"\xef\xbb\xbf{}", "UTF-8 BOM", "line 1, column 1"),
        (b"[NaN]", "NaN is not JSON", "neither NaN nor Infinity"),
        (b"-Infinity", "-Infinity is not JSON", "neither NaN nor Infinity"),
        (b"1" * 5000, "invalid JSON", "thousands of digits"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(text: bytes, what: str, hint: str) -> None:
    with pytest.raises(SpecError, match="invalid JSON") as caught:
        loads(text, where="config.json")
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where == "config.json"


def test_depth_and_size_are_bounded() -> None:
    with pytest.raises(SpecError, match="nested too deeply"):
        loads("[" * 1_000_000)
    with pytest.raises(SpecError, match="too large"):
        loads(b" " * (LARGEST_DOCUMENT + 1))
    assert loads(b" " * (LARGEST_DOCUMENT - 2) + b"{}") == {}


VALUES = [
    {},
    [],
    {"a": [1, -2.5, True, False, None, {"b": []}], "é": 'quote " and \\ and \n and \x00', "": {}},
    "text",
    [[], [[]], {"a": {}}],
]


@pytest.mark.parametrize("value", VALUES)
def test_writing_agrees_with_json(value: object) -> None:
    assert dumps(value) == json.dumps(value, separators=(",", ":"))
    for indent in (1, 2, 4):
        assert dumps(value, indent=indent) == json.dumps(value, indent=indent)


def test_a_tuple_is_a_list_and_other_types_are_refused() -> None:
    assert dumps((1, ("a",))) == '[1,["a"]]'
    with pytest.raises(TypeError, match="set has no form in JSON"):
        dumps({1})


@pytest.mark.parametrize("text", ['{"a": 5', '{"a"', "[1, 2", '{"a": "b', "[1,]", "{,}", ""])
def test_a_document_that_ends_too_early_is_refused_without_json_loaded_before(text: str) -> None:
    program = (
        "import sys\n"
        "from pyruntime.base.errors import SpecError\n"
        "from pyruntime.base.jsonio import loads\n"
        "try: loads(sys.argv[1].encode())\n"
        "except SpecError as error: print(error.what)\n"
    )
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run(
        [sys.executable, "-c", program, text], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("invalid JSON: ")
