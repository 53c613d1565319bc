"""User namespaces that others have made, and mounts with mapped ids."""

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def tree(runtime: Runtime) -> Path:
    directory = runtime.directory / "tree"
    directory.mkdir()
    return directory


@contextmanager
def other_user_namespace() -> Iterator[str]:
    """The path of a user namespace with the mappings of MAPS, held by another process."""
    owner = subprocess.Popen(["unshare", "--user", "sleep", "100"])
    try:
        path = f"/proc/{owner.pid}/ns/user"
        while os.readlink(path) == os.readlink("/proc/self/ns/user"):
            assert owner.poll() is None
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{owner.pid}/{name}").write_text("0 100000 65536")
        yield path
    finally:
        owner.kill()
        owner.wait()


# form -> (the option, whether the mount has mappings of its own, the owner that is seen in the container)
FORMS = {
    "maps": ("", True, 1234),
    "maps and idmap": ("idmap", True, 1234),
    "maps and ridmap": ("ridmap", True, 1234),
    "idmap of the container": ("idmap", False, 1000),
    "ridmap of the container": ("ridmap", False, 1000),
    "ranges of the host": ("idmap=uids=1000-100007-1;gids=1000-100007-1", False, 7),
    "ranges of the container": ("ridmap=uids=0-0-1#@1000-8-5;gids=@1000-8-5", False, 8),
    "ranges of users only": ("idmap=uids=@0-0-65536", False, 1000),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_idmapped_mount(runtime: Runtime, tree: Path, form: str) -> None:
    (tree / "file").touch()
    os.chown(tree / "file", 1000, 1000)
    option, mapped, owner = FORMS[form]

    def edit(config: dict[str, Any]) -> None:
        mount: dict[str, Any] = {"destination": "/m", "source": str(tree), "options": ["rbind"]}
        if mapped:
            mount["uidMappings"] = mount["gidMappings"] = [{"containerID": 1000, "hostID": 101234, "size": 1}]
        mount["options"] += filter(None, [option])
        config["mounts"].append(mount)
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS

    bundle = runtime.bundle("stat", "-c", "%u:%g", "/m/file", edit=edit)
    for path in [bundle, *bundle.rglob("*")]:
        os.chown(path, 100000, 100000, follow_symlinks=False)
    out = runtime.call("run", "--bundle", str(bundle), runtime.new_id()).stdout
    assert out == f"{owner}:{owner}\n"


def test_a_user_namespace_is_joined_by_path(runtime: Runtime) -> None:
    with other_user_namespace() as path:

        def edit(config: dict[str, Any]) -> None:
            config["linux"]["namespaces"].append({"type": "user", "path": path})
            config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS

        bundle = runtime.bundle("sh", "-c", "readlink /proc/self/ns/user; cat /proc/self/uid_map", edit=edit)
        for entry in [bundle, *bundle.rglob("*")]:
            os.chown(entry, 100000, 100000, follow_symlinks=False)
        out = runtime.call("run", "--bundle", str(bundle), runtime.new_id()).stdout.split()
        assert out == [os.readlink(path), "0", "100000", "65536"]


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_a_mount_gets_the_mapping_of_the_user_namespace_that_is_joined(
    runtime: Runtime, tree: Path, option: str
) -> None:
    (tree / "file").touch()
    os.chown(tree / "file", 1000, 1000)
    with other_user_namespace() as path:

        def edit(config: dict[str, Any]) -> None:
            config["linux"]["namespaces"].append({"type": "user", "path": path})
            config["mounts"].append({"destination": "/m", "source": str(tree), "options": ["rbind", option]})

        bundle = runtime.bundle("stat", "-c", "%u:%g", "/m/file", edit=edit)
        for entry in [bundle, *bundle.rglob("*")]:
            os.chown(entry, 100000, 100000, follow_symlinks=False)
        assert runtime.call("run", "--bundle", str(bundle), runtime.new_id()).stdout == "1000:1000\n"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("idmap", "idmap mount has no mappings to use"),
        ("idmap=uids=0-1", "invalid idmap option"),
        ("idmap=users=0-1-1", "invalid idmap option"),
        ("idmap=uids=@0-0-1", "are not mapped in the container"),
    ],
)
def test_a_mapping_that_is_none_is_refused(runtime: Runtime, tree: Path, option: str, said: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/m", "source": str(tree), "options": ["rbind", option]})

    done = runtime.run("true", edit=edit, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "/mounts/" in done.stderr


@pytest.mark.parametrize(("minor", "works"), [(229, True), (7, False)])
def test_a_device_of_the_host_is_shown_only_if_it_is_the_one_that_was_asked_for(
    runtime: Runtime, minor: int, works: bool
) -> None:
    # The host has another device at that path than the config says; nothing can be made in a user namespace.
    node = Path(f"/dev/pyruntime-test-{os.getpid()}")
    os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(10, 229))

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = MAPS
        config["linux"]["devices"] = [{"path": str(node), "type": "c", "major": 10, "minor": minor}]

    try:
        bundle = runtime.bundle("stat", "-c", "%t:%T", str(node), edit=edit)
        for entry in [bundle, *bundle.rglob("*")]:
            os.chown(entry, 100000, 100000, follow_symlinks=False)
        done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
        assert (done.returncode == 0) is works
        assert done.stdout == ("a:e5\n" if works else "")
        assert works or "the host's file of that name is not this device" in done.stderr
    finally:
        node.unlink()
