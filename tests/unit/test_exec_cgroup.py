"""Which v2 cgroup `exec` enters when the container's own takes no more processes."""

import os
from pathlib import Path

import pytest

from pyruntime.store.state import ContainerState
from pyruntime.verbs import sub_cgroup


def entered(directory: Path) -> str:
    state = ContainerState(
        oci_version="", id="x", bundle="", pid=os.getpid(), cgroup_paths={"": str(directory)}
    )
    return sub_cgroup.exec_cgroup(state, ()).clone_directory


def test_a_leaf_is_entered(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    assert entered(tmp_path) == str(tmp_path)


def test_an_inner_node_is_left_for_the_cgroup_of_the_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("memory pids\n")
    monkeypatch.setattr(sub_cgroup, "_cgroup_of", lambda pid: f"/of/{pid}")
    assert entered(tmp_path) == f"/of/{os.getpid()}"


def test_where_the_init_cannot_be_seen_the_kernel_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sub_cgroup, "_cgroup_of", lambda _pid: "")
    assert entered(tmp_path / "gone") == str(tmp_path / "gone")
