"""What scripts do with the verbs of oci-image: pipes, templates, ids, and words of other tools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from oci_image.cli.main import main
from tests.conftest import TREE
from tests.faulty_registry import FaultyRegistry
from tests.image_builder import Layer, file, make_layout, tar


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's store, with one image under two names."""
    monkeypatch.setenv("OCI_IMAGE_STORE", str(tmp_path / "store"))
    layout = make_layout(str(tmp_path / "layout"), Layer(tar(file(b"a", os.urandom(1 << 20))), "none"))
    assert main(["copy", "-q", f"oci:{layout}", "app:1"]) == 0
    assert main(["tag", "-q", "app:1", "other.example/app:2"]) == 0
    return str(tmp_path / "store")


@pytest.mark.usefixtures("store")
def test_names_of_the_store_are_whole_however_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "--json"]) == 0
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out)]
    assert names == ["docker.io/library/app:1", "other.example/app:2"]


@pytest.mark.usefixtures("store")
def test_quiet_lists_ids_which_rm_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "-q"]) == 0
    (digest,) = capsys.readouterr().out.split()
    assert digest.startswith("sha256:")
    assert main(["rmi", "other.example/app:2"]) == 0
    assert main(["rm", digest]) == 0
    capsys.readouterr()
    assert main(["images", "-q"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("{{.Architecture}}-{{ .Os }}", "amd64-linux"),
        ("{{json .Os}}", '"linux"'),
        ("{Architecture}", "amd64"),
        ("{{.RepoTags}}", "[]"),
        ("{{.architecture}}", "amd64"),
    ],
)
@pytest.mark.usefixtures("store")
def test_formats_of_go_are_understood(capsys: pytest.CaptureFixture[str], form: str, wanted: str) -> None:
    assert main(["inspect", "--format", form, "app:1"]) == 0
    assert capsys.readouterr().out == f"{wanted}\n"


@pytest.mark.parametrize("form", ["{{.Nothing}}", "{{range .Layers}}x{{end}}", "{{.Os", "{Nothing}"])
@pytest.mark.usefixtures("store")
def test_a_format_that_is_not_understood_is_no_text(capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert main(["inspect", "--format", form, "app:1"]) == 2
    assert "hint" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["save", "app:1"], ["list"]])
def test_a_reader_that_has_seen_enough_is_no_bug(
    store: str, oci_image_program: list[str], words: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*oci_image_program, *words], stdout=writing, stderr=subprocess.PIPE, check=False,
            env={**os.environ, "OCI_IMAGE_STORE": store}, cwd=TREE,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.usefixtures("store")
def test_an_error_of_a_registry_names_the_image(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyRegistry(b"layer", refuses_reading=1) as registry:
        assert main(["pull", f"{registry.address}/app:nothing"]) == 4
        assert f"({registry.address}/app:nothing)" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_an_image_for_another_platform_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyRegistry(b"layer") as registry:
        assert main(["pull", "--platform", "linux/s390x", f"{registry.address}/app:1"]) == 0
        assert "is an image for linux/amd64, not for linux/s390x" in capsys.readouterr().err
        assert (
            main(["pull", "--platform", "linux/amd64", "--name", "short", f"{registry.address}/app:1"]) == 0
        )
        captured = capsys.readouterr()
        assert captured.err == ""
        assert captured.out.startswith("docker.io/library/short:latest: ")


def test_nothing_is_printed_where_nothing_has_changed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layout = make_layout(str(tmp_path / "layout"), Layer(tar(file(b"a")), "none"))
    root = [] if os.geteuid() == 0 else ["--rootless"]
    assert main(["unpack", "-q", *root, "--image", layout, str(tmp_path / "bundle")]) == 0
    assert main(["diff", "--image", layout, str(tmp_path / "bundle")]) == 0
    assert capsys.readouterr().out == ""


def test_snapshots_are_listed_if_nothing_else_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["snapshots", "--snapshots", str(tmp_path / "snapshots")]) == 0
    assert capsys.readouterr().out == "nothing is prepared\n"
