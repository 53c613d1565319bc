"""The config of an image, changed property by property, and beside umoci's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oci_image.cli.main import main
from oci_image.model.platform import host_platform
from oci_image.model.reference import Reference
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import file, make_layout, tar

OPTIONS = [
    "--config.user", "1000:1000", "--config.exposedports", "80/tcp", "--config.env", "A=1", "--config.env", "B=x=y",
    "--config.entrypoint", "/bin/sh", "--config.cmd=-c", "--config.cmd", "date", "--config.volume", "/data",
    "--config.label", "one=1", "--config.workingdir", "/work", "--config.stopsignal", "SIGINT",
    "--created", "2020-01-02T03:04:05Z", "--author", "somebody", "--architecture", "arm64", "--os", "linux",
]  # fmt: skip


def config_of(layout: str, tag: str) -> dict[str, Any]:
    index = json.loads((Path(layout) / "index.json").read_text())
    for entry in index["manifests"]:
        if (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name") == tag:
            manifest = read_blob(layout, entry["digest"])
            return read_blob(layout, manifest["config"]["digest"])
    raise AssertionError(tag)


def read_blob(layout: str, digest: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((Path(layout) / "blobs" / digest.replace(":", "/")).read_text())
    return value


@pytest.fixture
def layout(tmp_path: Path) -> str:
    path = str(tmp_path / "layout")
    assert main(["init", "-q", "--layout", path]) == 0
    assert main(["new", "-q", "--image", f"{path}:base"]) == 0
    return path


def test_every_property_can_be_set_and_cleared(layout: str) -> None:
    more = ["--config.shell", "/bin/bash", "--config.onbuild", "RUN x", "--variant", "v8", "--config.healthcheck",
            '{"Test":["CMD","x"]}']  # fmt: skip
    assert main(["config", "-q", "--image", f"{layout}:base", "--tag", "set", *OPTIONS, *more]) == 0
    found = config_of(layout, "set")
    assert found["config"] == {
        "User": "1000:1000",
        "ExposedPorts": {"80/tcp": {}},
        "Env": ["A=1", "B=x=y"],
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "date"],
        "Volumes": {"/data": {}},
        "Labels": {"one": "1"},
        "WorkingDir": "/work",
        "StopSignal": "SIGINT",
        "Shell": ["/bin/bash"],
        "OnBuild": ["RUN x"],
        "Healthcheck": {"Test": ["CMD", "x"]},
    }
    assert (found["created"], found["author"]) == ("2020-01-02T03:04:05Z", "somebody")
    assert (found["architecture"], found["os"], found["variant"]) == ("arm64", "linux", "v8")
    assert found["history"][-1]["empty_layer"] is True
    names = ["user", "exposedports", "env", "entrypoint", "cmd", "volume", "label", "workingdir", "stopsignal",
             "shell", "onbuild", "healthcheck"]  # fmt: skip
    clear = [word for name in names for word in ("--clear", f"config.{name}")]
    assert main(["config", "-q", "--no-history", "--image", f"{layout}:set", *clear]) == 0
    assert config_of(layout, "set")["config"] == {}
    with Store(layout) as store:
        assert not check_store(store).faults


def test_variables_and_labels_are_merged_and_lists_replaced(layout: str) -> None:
    assert main(["config", "-q", "--image", f"{layout}:base", *OPTIONS]) == 0
    more = ["--config.env", "A=2", "--config.env", "C=3", "--config.cmd", "ls", "--config.label", "two=2"]
    assert main(["config", "-q", "--image", f"{layout}:base", *more]) == 0
    settings = config_of(layout, "base")["config"]
    assert settings["Env"] == ["A=2", "B=x=y", "C=3"]
    assert settings["Cmd"] == ["ls"]
    assert settings["Labels"] == {"one": "1", "two": "2"}


@pytest.mark.parametrize(
    "options",
    [
        ["--config.env", "NOVALUE"],
        ["--config.exposedports", "http"],
        ["--config.exposedports", "70000"],
        ["--config.label", "=x"],
        ["--config.healthcheck", "[]"],
    ],
)
def test_wrong_values_are_refused_and_change_nothing(layout: str, options: list[str]) -> None:
    before = (Path(layout) / "index.json").read_bytes()
    assert main(["config", "--image", f"{layout}:base", *options]) == 2
    assert (Path(layout) / "index.json").read_bytes() == before


def test_what_is_not_known_of_a_config_is_kept(tmp_path: Path) -> None:
    path = make_layout(str(tmp_path / "layout"), tar(file(b"a")))
    with Store(path) as store:
        manifest = store.resolve(Reference(), host_platform())[-1]
    value = read_blob(path, str(manifest.digest))
    assert main(["config", "-q", "--image", f"{path}", "--tag", "new", "--config.user", "7"]) == 0
    assert len(config_of(path, "new")["rootfs"]["diff_ids"]) == len(value["layers"])


def test_a_tag_that_is_taken_is_not_made_anew(layout: str) -> None:
    assert main(["new", "--image", f"{layout}:base"]) == 1
    assert main(["init", "--layout", layout]) == 1


def test_the_config_is_the_one_that_umoci_makes(layout: str) -> None:
    if not shutil.which("umoci"):
        pytest.fail("umoci is not installed: see scripts/host-packages")
    command = ["umoci", "config", "--image", f"{layout}:base", "--tag", "theirs", "--no-history", *OPTIONS]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert main(["config", "-q", "--no-history", "--image", f"{layout}:base", "--tag", "ours", *OPTIONS]) == 0
    ours, theirs = config_of(layout, "ours"), config_of(layout, "theirs")
    assert {**ours["config"], "Env": sorted(ours["config"]["Env"])} == {
        **theirs["config"],
        "Env": sorted(theirs["config"]["Env"]),
    }
    for key in ("created", "author", "architecture", "os"):
        assert ours[key] == theirs[key]
