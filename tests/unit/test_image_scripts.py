"""What scripts do with the verbs of oci-image: pipes, templates, ids, and words of other tools."""

from __future__ import annotations

import io
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


def test_import_changes_the_config_as_docker_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_IMAGE_STORE", str(tmp_path / "store"))
    archive = tmp_path / "root.tar"
    archive.write_bytes(tar(file(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n")))
    changes = ['CMD ["/bin/sh", "-l"]', "ENV A=1 B=$A", "EXPOSE 80", "WORKDIR /srv", "WORKDIR app", "USER nobody",
               "LABEL x=y", "VOLUME /data", "STOPSIGNAL 9", "ENTRYPOINT run it", "ONBUILD RUN x"]  # fmt: skip
    words = [word for change in changes for word in ("-c", change)]
    assert main(["import", *words, "-m", "by hand", str(archive), "mine:1"]) == 0
    capsys.readouterr()
    assert main(["inspect", "--config", "--json", "mine:1"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["history"][0]["comment"] == "by hand"
    assert config["config"] == {
        "Cmd": ["/bin/sh", "-l"], "Env": ["A=1", "B="], "ExposedPorts": {"80/tcp": {}}, "WorkingDir": "/srv/app",
        "User": "nobody", "Labels": {"x": "y"}, "Volumes": {"/data": {}}, "StopSignal": "9",
        "Entrypoint": ["/bin/sh", "-c", "run it"], "OnBuild": ["RUN x"],
    }  # fmt: skip
    for wrong in ("RUN x", "FROM y", "CMD", "nonsense"):
        assert main(["import", "-c", wrong, str(archive), "other"]) == 2
        said = capsys.readouterr().err
        assert "no change of a config" in said or f"invalid change {wrong!r}" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_commit_and_the_others_take_the_image_as_an_argument(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, store: str
) -> None:
    bundle = str(tmp_path / "bundle")
    assert main(["unpack", "-q", "--image", "app:1", bundle]) == 0
    assert main(["commit", "-c", "USER 5", "-a", "me", "-m", "why", bundle, "app:2"]) == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert main(["inspect", "--config", "--json", "app:2"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert (config["config"]["User"], config["author"]) == ("5", "me")
    assert (config["history"][-1]["comment"], config["history"][-1]["empty_layer"]) == ("why", True)
    (tmp_path / "bundle/rootfs/new").write_text("x")
    assert main(["repack", "-q", bundle, "app:3"]) == 0
    assert main(["squash", "-q", "--tag", "app:4", "app:3"]) == 0
    assert main(["export", "-o", str(tmp_path / "tree.tar"), "app:4"]) == 0
    assert main(["init", str(tmp_path / "empty")]) == 0
    capsys.readouterr()
    for words in (
        ["export"],
        ["export", "--image", "app:1", "app:1"],
        ["commit", bundle],
        ["init"],
        ["squash"],
    ):
        assert main(words) == 2, words
        assert "is to be named" in capsys.readouterr().err
    assert store


@pytest.mark.usefixtures("store")
def test_lists_as_docker_formats_and_filters_them(capsys: pytest.CaptureFixture[str]) -> None:
    for words, wanted in (
        (
            ["images", "--format", "{{.Repository}}:{{.Tag}}"],
            "docker.io/library/app:1\nother.example/app:2\n",
        ),
        (["images", "--format", "{tag}", "*example/*"], "2\n"),
        (["history", "--format", "{{.CreatedBy}}|{size}", "app:1"], None),
    ):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert out == wanted if wanted else out.startswith("|")
    assert main(["images", "--no-trunc"]) == 0
    assert "sha256:" in capsys.readouterr().out


@pytest.mark.usefixtures("store")
def test_what_is_not_there_can_be_removed_by_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rmi", "nothing"]) == 1
    assert main(["rmi", "-f", "nothing", "app:1"]) == 0
    assert capsys.readouterr().out == "Untagged: docker.io/library/app:1\n"


def test_passwords_of_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    with FaultyRegistry(b"layer", token=1) as registry:
        assert main(["login", "-u", "me", "-p", "secret", registry.address]) == 0
        assert "warning" in capsys.readouterr().err
        assert main(["pull", "-q", "--store", str(tmp_path / "store"), f"{registry.address}/app:1"]) == 0
        registry.tags = []
        assert main(["list-tags", f"{registry.address}/app"]) == 0
        assert capsys.readouterr().out == ""
        assert main(["login", "-p", "secret", registry.address]) == 2
        monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
        assert main(["login", "-u", "me", "--password-stdin", registry.address]) == 2
        assert "is empty" in capsys.readouterr().err


def test_a_layout_is_written_as_for_copies(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layout = make_layout(str(tmp_path / "layout"), Layer(tar(file(b"a")), "none"))
    assert main(["export", "-o", str(tmp_path / "a.tar"), f"oci:{layout}:latest"]) == 0
    assert main(["export", "-o", str(tmp_path / "b.tar"), f"oci:{layout}@0"]) == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    capsys.readouterr()
    assert main(["export", f"oci:{layout}:nothing"]) == 1
    assert "no image with tag 'nothing'" in capsys.readouterr().err
