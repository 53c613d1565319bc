"""The walks of README.md, typed as they stand there, in a place such as scripts/quickstart leaves behind."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.conftest import TREE, program

# Where the programs keep things of root's by themselves.
HIDDEN = ("/run/pyruntime", "/var/lib/oci-image")


def commands_of(heading: str) -> str:
    """The shell commands below a heading, without those that need a registry."""
    section = (TREE / "README.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return "".join(
        line for line in "".join(blocks).splitlines(keepends=True) if "registry.example/" not in line
    )


def test_the_walks_work_as_they_are_written(tmp_path: Path) -> None:
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("pyruntime", "oci-image"):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(program(name))} "$@"\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".quickstart").mkdir()
    subprocess.run(
        [sys.executable, TREE / "scripts/busybox_image.py", ".quickstart/busybox"], cwd=tmp_path, check=True
    )
    hide = [f"mkdir -p {path} && mount -t tmpfs none {path}" for path in HIDDEN]
    walks = [commands_of("A container, step by step"), commands_of("Build an image")]
    script = "\n".join([*hide, *walks])
    environment = {**os.environ, "OCI_IMAGE_STORE": str(tmp_path / "store"), "PYTHONPATH": str(TREE)}
    with (tmp_path / "output").open("w+") as output:
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-eux", "-o", "pipefail", "-c", script],
            cwd=tmp_path, env=environment, check=False, timeout=120,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
        output.seek(0)
        shown = output.read()
    assert done.returncode == 0, shown
    assert "CapBnd:" in shown
    assert "\nhello\n" in shown
