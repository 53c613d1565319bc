"""A day's work with images by the script that users can read, and what other tools make of its results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.conftest import program
from tests.privileged.registries import running_registry

TREE = Path(__file__).resolve().parents[2]


@dataclass
class Day:
    """What the script has left: its directory, its registry, and what it printed."""

    work: Path
    registry: str
    said: str

    def run(self, *words: str, **environment: str) -> str:
        """A program that knows the password; its output."""
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed")
        done = subprocess.run(
            words, cwd=self.work, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "OCI_IMAGE_STORE": str(self.work / "store"),
                 "REGISTRY_AUTH_FILE": str(self.work / "foreign.json"), **environment},
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def oci_image(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "oci_image", *words, PYTHONPATH=str(TREE))

    def podman(self, *words: str) -> str:
        """podman with a storage of its own, without an engine of this machine."""
        places = (
            "--root",
            f"{self.work}/podman",
            "--runroot",
            f"{self.work}/podman-run",
            "--storage-driver",
            "vfs",
        )
        return self.run("podman", *places, "--events-backend", "none", *words)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The day, worked once for all tests of this file."""
    folder = tmp_path_factory.mktemp("registry")
    work = tmp_path_factory.mktemp("day")
    launcher = work / "oci-image"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH={TREE} exec {sys.executable} -m oci_image "$@"\n')
    launcher.chmod(0o755)
    runtime = program("pyruntime")
    if len(runtime) > 1:
        shell = work / "pyruntime"
        shell.write_text(f'#!/bin/sh\nPYTHONPATH={TREE} exec {" ".join(runtime)} "$@"\n')
        shell.chmod(0o755)
        runtime = [str(shell)]
    with running_registry(folder, with_password=True) as address:
        done = subprocess.run(
            [str(TREE / "scripts/daily-images"), address, "me", "secret", str(work)],
            env={**os.environ, "OCI_IMAGE": str(launcher), "PYRUNTIME": runtime[0], "PYTHON": sys.executable},
            capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = Day(work, address, done.stdout)
        found.run("skopeo", "login", "--tls-verify=false", "-u", "me", "-p", "secret", address)
        yield found
        remove_storage(work / "podman")


def remove_storage(path: Path) -> None:
    """podman leaves directories that cannot be written to; pytest's own clean-up stops at them."""
    shutil.rmtree(path, ignore_errors=True)  # noqa: TID251 - made by this test


def test_the_day_went_as_it_should(day: Day) -> None:
    sections = dict(part.partition("\n")[::2] for part in day.said.split("\n# ")[1:])
    assert sections["run it"] == "hello from a step\nmade by hand\n"
    assert "C /srv/note\n" in sections["change the tree, and commit it"]
    assert sections["change the tree, and commit it"].endswith("hello from a step\nchanged\n")
    assert sections["tag and push"].split()[:3] == ["1", "2", "latest"]
    assert "team/app" in sections["tag and push"].split()
    assert sections["mirror it to a directory, and back under another name"].split() == [
        "app:1", "app:2", "app:all", "app:latest", "1", "2", "all", "latest",
    ]  # fmt: skip
    assert "the store is whole" in sections["tidy up"]
    with Store.open(str(day.work / "store")) as store:
        assert check_store(store).faults == ()
    assert json.loads((day.work / "auth.json").read_text())["auths"] == {}, "logged out"


def test_skopeo_reads_what_was_pushed_and_we_what_it_pushes(day: Day) -> None:
    name = f"docker://{day.registry}/team/app"
    config = json.loads(day.run("skopeo", "inspect", "--tls-verify=false", "--config", f"{name}:2"))
    assert config["config"]["Cmd"] == ["cat", "/srv/greeting", "/srv/note"]
    assert config["config"]["Labels"] == {"stage": "test"}
    assert "GREETING=bye" in config["config"]["Env"]
    assert len(config["rootfs"]["diff_ids"]) == len(
        [step for step in config["history"] if not step.get("empty_layer")]
    )
    day.run("skopeo", "copy", "--all", "--src-tls-verify=false", f"{name}:all", f"oci:{day.work}/skopeo:all")
    with Store.open(f"{day.work}/skopeo") as store:
        assert check_store(store).faults == ()
    for source in (
        f"oci:{day.work}/skopeo:all",
        f"docker-archive:{day.work}/saved.tar:{day.registry}/team/app:2",
    ):
        day.run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", source, f"{name}:by-skopeo")
        assert day.oci_image("inspect", "--format", "{Os}", f"{name}:by-skopeo") == "linux\n"


def test_podman_runs_what_was_pushed_and_saved_and_we_load_what_it_saves(day: Day) -> None:
    name = f"{day.registry}/team/app"
    day.podman("pull", "--quiet", "--tls-verify=false", f"docker://{name}:2")
    day.podman("load", "--quiet", "--input", f"{day.work}/saved.tar")
    assert f"{name}:1" in day.podman("images", "--format", "{{.Repository}}:{{.Tag}}")
    created = day.podman("create", "--network", "none", f"{name}:1", "true").strip()
    day.podman("cp", f"{created}:/srv/note", f"{day.work}/note")
    assert (day.work / "note").read_text() == "made by hand\n"
    day.podman("commit", "--quiet", created, "localhost/by-podman:1")
    for form in ("docker-archive", "oci-archive"):
        day.podman(
            "save", "--quiet", "--format", form, "--output", f"{day.work}/{form}.tar", "localhost/by-podman:1"
        )
        said = day.oci_image("load", "--input", f"{day.work}/{form}.tar")
        assert "localhost/by-podman:1" in said
        config = json.loads(day.oci_image("inspect", "--config", "localhost/by-podman:1"))
        assert config["config"]["Labels"]["stage"] == "test"


def test_umoci_unpacks_what_was_copied_and_we_what_it_packs(day: Day) -> None:
    layout = f"{day.work}/for-umoci"
    day.oci_image("copy", f"{day.registry}/team/app:2", f"oci:{layout}:app")
    day.run("umoci", "unpack", "--image", f"{layout}:app", f"{day.work}/umoci-bundle")
    note = day.work / "umoci-bundle/rootfs/srv/note"
    assert note.read_text() == "changed\n"
    note.write_text("by umoci\n")
    day.run("umoci", "repack", "--image", f"{layout}:theirs", f"{day.work}/umoci-bundle")
    day.run("umoci", "config", "--image", f"{layout}:theirs", "--config.label", "by=umoci")
    day.oci_image("unpack", "--image", f"{layout}:theirs", f"{day.work}/our-bundle")
    assert (day.work / "our-bundle/rootfs/srv/note").read_text() == "by umoci\n"
    assert json.loads((day.work / "our-bundle/config.json").read_text())["annotations"]["by"] == "umoci"
