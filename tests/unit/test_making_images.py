"""The verbs that make and change images: the same in a layout and in the user's store."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from oci_image.cli.main import main
from oci_image.locations import locate_image
from oci_image.model.reference import Reference
from oci_image.store.check import check_store
from oci_image.store.content import Store
from pyruntime.base.errors import ExpectedError


class Place:
    """Where images are, and how the command line names one of them."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.path = str(directory / "images")

    def image(self, tag: str) -> list[str]:
        if self.kind == "layout":
            return ["--image", f"{self.path}:{tag}"]
        return ["--image", tag]

    def name(self, tag: str) -> str:
        return f"docker.io/library/{tag}:latest" if self.kind == "store" else tag

    def config(self, tag: str) -> dict[str, Any]:
        with Store(self.path) as store:
            assert not check_store(store).faults
            manifest = json.loads(store.read_document(store.find(self.name(tag))))
            blob = Path(self.path, "blobs", *manifest["config"]["digest"].split(":"))
            config: dict[str, Any] = json.loads(blob.read_bytes())
        return config


@pytest.fixture(params=["layout", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(request.param, tmp_path)
    monkeypatch.setenv("OCI_IMAGE_STORE", made.path if request.param == "store" else str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path)
    if request.param == "layout":
        assert main(["init", "-q", "--layout", made.path]) == 0
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a verb that succeeds; its result."""
    capsys.readouterr()
    assert main([arguments[0], "--json", *arguments[1:]]) == 0
    return json.loads(capsys.readouterr().out)


def names_of(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return sorted(opened.getnames())


def test_an_image_goes_through_all_verbs(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("x")
    run(capsys, "new", *place.image("base"))
    run(capsys, "insert", *place.image("base"), "--tag", "one", "tree", "/data")
    run(capsys, "insert", *place.image("one"), "--tag", "two", "tree/sub/file", "/data/other")
    run(capsys, "insert", *place.image("two"), "--whiteout", "/data/sub")
    run(capsys, "config", *place.image("two"), "--config.user", "7", "--config.env", "A=b")
    run(capsys, "squash", *place.image("two"), "--tag", "flat")
    assert place.config("two")["config"] == {"User": "7", "Env": ["A=b"]}
    assert len(place.config("two")["rootfs"]["diff_ids"]) == 3
    assert len(place.config("flat")["rootfs"]["diff_ids"]) == 1
    run(capsys, "export", *place.image("flat"), "--output", "flat.tar")
    assert [name for name in names_of(tmp_path / "flat.tar") if name != "."] == ["data", "data/other"]
    run(capsys, "import", *place.image("back"), "flat.tar")
    assert len(run(capsys, "history", *place.image("two"))) == 4
    shown = run(capsys, "stat", *place.image("back"))
    assert len(shown["manifest"]["layers"]) == 1
    with Store(place.path) as store:
        tags = {
            entry.annotations.get("org.opencontainers.image.ref.name") for entry in store.index().manifests
        }
    assert tags - {None} == {place.name(tag) for tag in ("base", "one", "two", "flat", "back")}


@pytest.mark.parametrize(
    ("verb", "rest", "code"),
    [
        ("config", ["--config.user", "1"], 1),
        ("squash", [], 1),
        ("insert", ["--whiteout", "/x"], 1),
        ("export", ["--output", "x.tar"], 1),
        ("stat", [], 1),
        ("history", [], 1),
        ("config", ["--clear", "nothing"], 2),
        ("insert", ["/x"], 2),
        ("insert", ["--opaque", "--whiteout", "/x"], 2),
        ("import", [], 2),
    ],
)
def test_an_image_that_is_not_there_is_1_and_a_wrong_command_line_is_2(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, rest: list[str], code: int
) -> None:
    assert main(["new", "-q", *place.image("base")]) == 0
    try:
        found = main([verb, *place.image("missing"), *rest])
    except SystemExit as ended:
        found = ended.code  # type: ignore[assignment]
    assert found == code
    assert f"{verb}" in capsys.readouterr().err
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize("verb", ["new", "init", "config", "insert", "squash", "flatten", "diff", "import", "export",
                                  "history", "stat", "repack", "commit", "build"])  # fmt: skip
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"oci-image {verb}" in shown
    assert "example" in shown


def test_a_directory_that_is_there_comes_before_a_name_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCI_IMAGE_STORE", str(tmp_path / "store"))
    assert locate_image("app:1", new=True)[0] == str(tmp_path / "store")
    (tmp_path / "app").mkdir()
    assert locate_image("app:1") == ("app", Reference("1"))
    assert locate_image("./nothing:1")[0] == "./nothing"
    with pytest.raises(ExpectedError, match="no such image"):
        locate_image("nothing:1")


def test_an_image_by_digest_needs_a_name_for_what_is_made_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = str(tmp_path / "layout")
    assert main(["init", "-q", "--layout", layout]) == 0
    digest = run(capsys, "new", "--image", f"{layout}:base")["manifest"]
    assert main(["config", "--image", f"{layout}@{digest}", "--author", "me"]) == 2
    run(capsys, "config", "--image", f"{layout}@{digest}", "--tag", "made", "--author", "me")
    assert config_of(layout, "made")["author"] == "me"
    assert run(capsys, "stat", "--image", f"{layout}@{digest}")["descriptor"]["digest"] == digest


def umoci(*arguments: str) -> None:
    if shutil.which("umoci") is None:
        pytest.skip("umoci is not installed: scripts/host-packages test")
    subprocess.run(["umoci", *arguments], check=True, capture_output=True, timeout=60)


def config_of(layout: str, tag: str) -> dict[str, Any]:
    index = json.loads(Path(layout, "index.json").read_bytes())
    named = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in index["manifests"]}

    def blob(digest: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(Path(layout, "blobs", *digest.split(":")).read_bytes())
        return value

    return blob(blob(named[tag]["digest"])["config"]["digest"])


def test_new_and_init_make_what_umoci_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    umoci("init", "--layout", theirs)
    umoci("new", "--image", f"{theirs}:base")
    run(capsys, "init", "--layout", ours)
    run(capsys, "new", "--image", f"{ours}:base")
    configs = [config_of(place, "base") for place in (ours, theirs)]
    for config in configs:
        config.pop("created")
        config.pop("history", None)
    configs[1]["rootfs"]["diff_ids"] = configs[1]["rootfs"]["diff_ids"] or []
    assert configs[0] == configs[1]
    assert main(["init", "--layout", ours]) == 1
    assert main(["new", "--image", f"{ours}:base"]) == 1


def test_umoci_reads_and_inserts_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = str(tmp_path / "layout")
    run(capsys, "init", "--layout", layout)
    run(capsys, "new", "--image", f"{layout}:base")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    for opaque in ([], ["--opaque"]):
        umoci(
            "insert",
            *opaque,
            "--rootless",
            "--image",
            f"{layout}:base",
            "--tag",
            "umoci",
            str(tmp_path / "tree"),
            "/d",
        )
        run(
            capsys,
            "insert",
            *opaque,
            "--rootless",
            "--image",
            f"{layout}:base",
            "--tag",
            "ours",
            str(tmp_path / "tree"),
            "/d",
        )
        exported = []
        for tag in ("umoci", "ours"):
            run(capsys, "export", "--image", f"{layout}:{tag}", "--output", str(tmp_path / f"{tag}.tar"))
            exported.append([name for name in names_of(tmp_path / f"{tag}.tar") if name not in (".", "")])
        assert exported[0] == exported[1] == ["d", "d/file"]
    umoci("stat", "--image", f"{layout}:ours")


def test_an_archive_comes_and_goes_by_pipes(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("inside"))
    (tmp_path / "made.tar").write_bytes(made.getvalue())
    with (tmp_path / "made.tar").open("rb") as source:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source))
        assert main(["import", "-q", *place.image("piped"), "-"]) == 0
    capfdbinary.readouterr()
    assert main(["export", "-q", *place.image("piped")]) == 0
    with tarfile.open(fileobj=io.BytesIO(capfdbinary.readouterr().out)) as archive:
        assert archive.getnames() == ["inside"]
