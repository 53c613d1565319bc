"""Completion of oci-image's command lines says what its parsers say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oci_image.cli.completion import SHELLS
from oci_image.cli.main import VERBS, main
from oci_image.store.content import Store
from oci_image.transfer import copy
from tests.image_builder import file, make_layout, tar

TREE = Path(__file__).resolve().parents[2]


def script(shell: str, capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capfd.readouterr().out


def completed(script: str, line: str, path: str, **environment: str) -> list[str]:
    """What bash offers at the end of a line, cut into words as bash cuts them."""
    shell = shutil.which("bash")
    assert shell
    words = line.replace(":", " : ").split(" ") if ":" in line else line.split(" ")
    program = (
        f'{script}\nCOMP_LINE=$1; COMP_POINT=${{#1}}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        '_oci_image; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [shell, "-c", program, "bash", line, *words],
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_bash_completes_verbs_options_and_choices(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bash = script("bash", capfd)
    assert completed(bash, "oci-image sav", str(tmp_path)) == ["save"]
    assert completed(bash, "oci-image list-", str(tmp_path)) == ["list-tags"]
    assert completed(bash, "oci-image pull --pol", str(tmp_path)) == ["--policy"]
    assert "zsh" in completed(bash, "oci-image completion z", str(tmp_path))


def test_bash_completes_names_of_images_over_their_colons(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layout = make_layout(str(tmp_path / "layout"), tar(file(b"a")))
    store = str(tmp_path / "store")
    for name in ("x.example/app:1.0", "x.example/app:1.1", "x.example/other:2"):
        copy(f"oci:{layout}", name, store=store)
    with Store.open(store) as opened:
        assert len(opened.entries()) == 3
    program = tmp_path / "oci-image"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={TREE} exec {sys.executable} -m oci_image "$@"\n')
    program.chmod(0o755)
    bash = script("bash", capfd)
    whole = completed(bash, "oci-image inspect x.ex", str(tmp_path), OCI_IMAGE_STORE=store)
    assert whole == ["x.example/app:1.0", "x.example/app:1.1", "x.example/other:2"]
    tags = completed(bash, "oci-image inspect x.example/app:1", str(tmp_path), OCI_IMAGE_STORE=store)
    assert tags == ["1.0", "1.1"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_scripts_know_every_verb(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capfd)
    for verb in VERBS:
        assert (f" -a {verb} " if shell == "fish" else f"        {verb}) ") in text


def test_the_scripts_are_understood_by_the_shells(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for shell in SHELLS:
        text = script(shell, capfd)
        program = shutil.which(shell)
        if program is None:
            assert shell != "bash"
            continue
        (tmp_path / shell).write_text(text)
        subprocess.run([program, "-n", str(tmp_path / shell)], check=True, timeout=20)
