"""The decoder: JSON to records, with the pointer of what is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyruntime.base.decode import IRREGULAR_NAMES, decode, encode, escape, json_name
from pyruntime.base.errors import HostError, SpecError
from pyruntime.base.integers import Uint16, Uint64
from pyruntime.base.record import Record, fields_of
from pyruntime.spec import config as config_module
from pyruntime.spec import linux as linux_module
from pyruntime.spec.config import Config, Process
from pyruntime.spec.load import read_config
from tests.config_cases import ACCEPTED, cases, changed, read

TREE = Path(__file__).resolve().parents[2]


class Leaf(Record):
    size: Uint16
    flag: bool = False


class Tree(Record):
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    table: dict[str, tuple[Uint64, ...]] = {}
    text: str = "default"


def test_every_kind_of_field_is_decoded() -> None:
    tree = decode(
        Tree, {"leaf": {"size": 1, "flag": True}, "leaves": [{"size": 2}], "table": {"a/b": [0, 2**64 - 1]}}
    )
    assert tree == Tree(leaf=Leaf(size=1, flag=True), leaves=(Leaf(size=2),), table={"a/b": (0, 2**64 - 1)})
    assert tree.text == "default"


@pytest.mark.parametrize(
    ("value", "where", "what"),
    [
        ([], "/", "expected an object, found a list"),
        ({"leaf": {}}, "/leaf", "property 'size' is missing"),
        ({"leaf": {"size": None}}, "/leaf", "property 'size' is missing"),
        ({"leaves": [{"size": 1}, {"size": 65536}]}, "/leaves/1/size", "65536 is out of range"),
        ({"leaves": [{"size": True}]}, "/leaves/0/size", "expected an integer, found a boolean"),
        ({"leaves": [{"size": 1.0}]}, "/leaves/0/size", "expected an integer, found a fraction"),
        ({"leaf": {"size": 1, "flag": 1}}, "/leaf/flag", "expected a boolean, found an integer"),
        ({"table": {"a/b~": [-1]}}, "/table/a~1b~0/0", "-1 is out of range"),
        ({"table": {"a": None}}, "/table/a", "expected a list, found null"),
        ({"text": "a\0b"}, "/text", "NUL character"),
        ({"text": "\ud800"}, "/text", "half a character"),
    ],
)
def test_what_is_wrong_is_named_with_its_pointer_and_a_way_out(value: object, where: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        decode(Tree, value)
    assert caught.value.where == where
    assert what in caught.value.what
    assert caught.value.hint


def test_the_pointer_starts_where_the_caller_says() -> None:
    with pytest.raises(SpecError) as caught:
        decode(Process, {"cwd": 1}, "/process")
    assert caught.value.where == "/process/cwd"


def test_unknown_properties_and_null_are_as_absent() -> None:
    assert decode(Tree, {"text": None, "leaf": None, "other": [1, {"x": 2}]}) == Tree()


def test_bytes_that_are_no_utf8_pass_as_python_escapes_them() -> None:
    assert decode(Tree, {"text": "caf\udce9"}).text.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_encoding_leaves_out_defaults_and_is_undone_by_decoding() -> None:
    tree = Tree(leaf=Leaf(size=0), leaves=(Leaf(size=1, flag=True),), table={"a": (1,)})
    document = encode(tree)
    assert document == {"leaf": {"size": 0}, "leaves": [{"size": 1, "flag": True}], "table": {"a": [1]}}
    assert decode(Tree, document) == tree
    assert encode(Tree()) == {}


def test_the_table_of_irregular_names_holds_those_and_no_others() -> None:
    fields = {
        field
        for module in (config_module, linux_module)
        for record in vars(module).values()
        if isinstance(record, type) and issubclass(record, Record)
        for field in fields_of(record)
    }
    assert set(IRREGULAR_NAMES) <= fields
    for field, name in IRREGULAR_NAMES.items():
        first, *rest = field.split("_")
        assert first + "".join(part.capitalize() for part in rest) != name
    assert [json_name(field) for field in ("no_new_privileges", "class_")] == ["noNewPrivileges", "class"]
    assert escape("a/b~c") == "a~1b~0c"


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_config_is_accepted(name: str) -> None:
    document = read(name)
    assert decode(Config, document).oci_version == document["ociVersion"]


def test_nothing_of_a_config_is_lost() -> None:
    document = read("everything")
    again = encode(decode(Config, document))
    # What equals its default needs not be written.
    del document["linux"]["seccomp"]["syscalls"][0]["args"][0]["valueTwo"]
    del document["linux"]["personality"]["flags"]
    assert again == document


@pytest.mark.parametrize("case", cases("refused_by_form"))
def test_a_wrong_form_is_refused_where_it_is_wrong(case: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(changed(read("everything"), case)))
    with pytest.raises(SpecError) as caught:
        read_config(str(path))
    assert caught.value.where == case["where"]
    assert case["what"] in caught.value.what
    assert caught.value.hint


def test_every_fault_of_form_is_named_at_once(tmp_path: Path) -> None:
    document = read("everything")
    document["root"]["readonly"] = "yes"
    document["process"]["cwd"] = 7
    document["linux"]["namespaces"][0]["type"] = "net"
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SpecError) as caught:
        read_config(str(path))
    shown = f"{caught.value} {caught.value.hint}"
    for where in ("/root/readonly", "/process/cwd", "/linux/namespaces/0/type"):
        assert f"({where})" in shown
    assert shown.count("/root/readonly") == 1


def test_without_jsonschema_the_first_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"ociVersion": "1.0.0", "root": 5, "hostname": 5}')
    program = "import sys; sys.path.insert(0, sys.argv[1])\nfrom pyruntime.spec.load import read_config\n"
    result = subprocess.run(
        [sys.executable, "-ISc", program + "read_config(sys.argv[2])", str(TREE), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr.splitlines()[-1].endswith("SpecError: expected an object, found an integer (/root)")


def test_a_config_that_cannot_be_read_is_no_surprise(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"JSON specification file config\.json not found"):
        read_config(str(tmp_path / "config.json"))
    with pytest.raises(HostError, match="is a directory"):
        read_config(str(tmp_path))
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(SpecError, match="invalid JSON"):
        read_config(str(path))
    path.write_text(' {"ociVersion": "1.0.0"}\n')
    assert read_config(str(path)) == (Config(oci_version="1.0.0"), path.read_bytes())
