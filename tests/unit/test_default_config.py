"""`spec` writes what runc writes."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyruntime.spec.default import default_config


def from_runc(folder: Path, *options: str) -> Any:
    runc = shutil.which("runc", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if runc is None:
        pytest.skip("runc is not installed")
    version = subprocess.run([runc, "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("runc version 1.1."):
        pytest.skip("the config compared with is that of runc 1.1")
    subprocess.run([runc, "spec", *options], cwd=folder, check=True)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("rootless", [False, True])
def test_it_equals_that_of_runc_but_for_the_version(rootless: bool, tmp_path: Path) -> None:
    theirs = from_runc(tmp_path, *(["--rootless"] if rootless else []))
    ours = json.loads(json.dumps(default_config(rootless=rootless, uid=os.geteuid(), gid=os.getegid())))
    assert ours.pop("ociVersion") == "1.3.0"
    del theirs["ociVersion"]
    assert ours == theirs


def test_a_rootless_config_maps_the_caller_to_root() -> None:
    linux: Any = default_config(rootless=True, uid=1000, gid=100)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert {"type": "user"} in linux["namespaces"]
    assert {"type": "network"} not in linux["namespaces"]
    assert "resources" not in linux
