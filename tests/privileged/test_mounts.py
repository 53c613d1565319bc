"""Mounts that are added to a running container, and taken off it again."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Edit, Runtime, runtime

__all__ = ["runtime"]


def running(runtime: Runtime, edit: Edit | None = None) -> tuple[Path, str]:
    bundle, name = runtime.bundle("sleep", "100", edit=edit), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    return bundle, name


def listed(runtime: Runtime, mounts: object) -> str:
    path = runtime.directory / "mounts.json"
    path.write_text(json.dumps(mounts))
    return str(path)


def inside(runtime: Runtime, name: str, script: str) -> str:
    return runtime.call("exec", name, "sh", "-c", script).stdout


def in_a_user_namespace(config: dict[str, Any]) -> None:
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = mapping


@pytest.mark.parametrize("edit", [None, in_a_user_namespace])
def test_a_directory_and_a_file_of_the_host_and_a_tmpfs_come_and_go(
    runtime: Runtime, edit: Edit | None
) -> None:
    data = runtime.directory / "data"
    data.mkdir()
    data.chmod(0o777)
    (data / "file").write_text("of the host\n")
    (data / "file").chmod(0o644)
    bundle, name = running(runtime, edit)
    (bundle / "rootfs").chmod(0o777)
    file = listed(
        runtime,
        [
            {"destination": "/data/deep", "source": str(data), "options": ["rbind", "ro", "nosuid"]},
            {"destination": "/etc/file", "source": str(data / "file"), "type": "bind", "options": ["bind"]},
            {"destination": "/scratch", "type": "tmpfs", "options": ["size=64k", "noexec", "mode=1777"]},
        ],
    )
    for path in ("data/deep", "scratch"):
        (bundle / "rootfs" / path).mkdir(parents=True)
    (bundle / "rootfs/etc/file").touch()
    runtime.call("mounts", "add", name, file)
    assert inside(runtime, name, "cat /data/deep/file /etc/file") == "of the host\nof the host\n"
    refused = runtime.call("exec", name, "touch", "/data/deep/new", check=False)
    assert (refused.returncode, "Read-only" in refused.stderr) == (1, True)
    lines = {line.split()[1]: line.split() for line in inside(runtime, name, "cat /proc/mounts").splitlines()}
    assert {"ro", "nosuid"} <= set(lines["/data/deep"][3].split(","))
    assert lines["/scratch"][2] == "tmpfs"
    assert {"noexec", "size=64k"} <= set(lines["/scratch"][3].split(","))
    inside(runtime, name, "echo kept > /scratch/x")
    assert str(data) not in Path("/proc/self/mountinfo").read_text()

    runtime.call("mounts", "remove", name, file)
    left = inside(runtime, name, "cat /proc/mounts; ls /data/deep /scratch")
    assert not [path for path in ("/data/deep ", "/etc/file ", "/scratch ") if path in left]
    assert (data / "file").read_text() == "of the host\n"


def test_a_missing_destination_is_made_in_the_container_and_nowhere_else(runtime: Runtime) -> None:
    outside = runtime.directory / "outside"
    outside.mkdir()
    bundle, name = running(runtime)
    (bundle / "rootfs/link").symlink_to(outside)
    file = listed(runtime, {"mounts": [{"destination": "/link/new", "type": "tmpfs", "source": "tmpfs"}]})
    runtime.call("mounts", "add", name, file)
    assert list(outside.iterdir()) == []
    assert f" {outside}/new tmpfs" in inside(runtime, name, "cat /proc/mounts")
    runtime.call("mounts", "remove", name, file)


WRONG: list[tuple[object, str]] = [
    ([], "there are no mounts"),
    ([{"destination": "/x", "source": "/nonexistent", "options": ["bind"]}], "no such file or directory"),
    ([{"destination": "/proc/sys", "type": "tmpfs"}], "inside /proc"),
    ([{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}], "for mounts of a new container"),
    ([{"destination": "/x", "type": "tmpfs", "options": ["remount"]}], "cannot be remounted"),
    ([{"destination": "/x", "type": "tmpfs", "options": ["size=much"]}], "invalid argument"),
    ([{"type": "tmpfs"}], "/mounts/0"),
    ("x", "/mounts"),
]


def test_what_cannot_be_mounted_is_refused_with_its_place(runtime: Runtime) -> None:
    _, name = running(runtime)
    before = inside(runtime, name, "cat /proc/mounts")
    for mounts, error in WRONG:
        failed = runtime.call("mounts", "add", name, listed(runtime, mounts), check=False)
        assert failed.returncode == 1
        assert error in failed.stderr
    assert inside(runtime, name, "cat /proc/mounts") == before


def test_what_is_no_mount_cannot_be_taken_off_and_a_stopped_container_has_none(runtime: Runtime) -> None:
    _, name = running(runtime)
    file = listed(runtime, [{"destination": "/tmp"}])
    failed = runtime.call("mounts", "remove", name, file, check=False)
    assert "unmount /tmp: umount2 /tmp: invalid argument (/mounts/0/destination)" in failed.stderr
    assert runtime.call("mounts", "replace", name, file, check=False).returncode == 1
    runtime.call("kill", name, "KILL")
    runtime.call("delete", "--force", name)
    missing = runtime.call("mounts", "add", name, file, check=False)
    assert "container does not exist" in missing.stderr
