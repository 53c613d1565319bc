"""From image config to config.json, and users looked up in the image's own files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_image.accounts import User, resolve_user
from oci_image.bundle import make_runtime_config
from oci_image.errors import ImageError
from oci_image.layers.ownership import IdMap, IdRange, parse_id_range
from oci_image.layers.rootdir import RootDirectory
from oci_image.model.image_config import ImageConfig
from oci_image.model.platform import Platform
from pyruntime.base.errors import UsageError


def convert(image: ImageConfig, user: User | None = None, **options: Any) -> dict[str, Any]:
    settings = {"user_namespace": False, "uid_map": IdMap(), "gid_map": IdMap(), **options}
    return make_runtime_config(image, user or User(), **settings)


def test_arguments_are_entrypoint_and_command() -> None:
    image = ImageConfig((), entrypoint=("/e", "x"), command=("c",), working_directory="/w")
    process = convert(image)["process"]
    assert (process["args"], process["cwd"], process["terminal"]) == (["/e", "x", "c"], "/w", False)


def test_the_image_environment_wins_over_the_defaults() -> None:
    image = ImageConfig((), environment=("PATH=/only", "A=1", "A=2", "EMPTY=", "E=a=b"))
    assert convert(image)["process"]["env"] == ["PATH=/only", "TERM=xterm", "A=2", "EMPTY=", "E=a=b"]
    assert convert(ImageConfig(()))["process"]["env"][0].startswith("PATH=/usr/local/sbin:")


@pytest.mark.parametrize("entry", ["HOME", "=x", "", "A=\0"])
def test_malformed_environment_entries_are_refused(entry: str) -> None:
    with pytest.raises(ImageError):
        convert(ImageConfig((), environment=(entry,)))


def test_annotations_are_implied_and_labels_win() -> None:
    prefix = "org.opencontainers.image."
    image = ImageConfig(
        (),
        platform=Platform("linux", "arm", "v7"),
        author="me",
        created="2020-01-01T00:00:00Z",
        stop_signal="SIGINT",
        exposed_ports=("53/udp", "80/tcp"),
        labels={"a": "b", prefix + "author": "label"},
    )
    assert convert(image)["annotations"] == {
        prefix + "os": "linux",
        prefix + "architecture": "arm",
        prefix + "variant": "v7",
        prefix + "author": "label",
        prefix + "created": "2020-01-01T00:00:00Z",
        prefix + "stopSignal": "SIGINT",
        prefix + "exposedPorts": "53/udp,80/tcp",
        "a": "b",
    }


def test_maps_bring_a_user_namespace() -> None:
    maps = IdMap((IdRange(0, 1000, 1),))
    config = convert(ImageConfig(()), user_namespace=True, uid_map=maps, gid_map=maps)
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    options = next(mount["options"] for mount in config["mounts"] if mount["destination"] == "/dev/pts")
    assert "gid=5" not in options


def test_additional_groups_are_given_when_there_are_some() -> None:
    assert convert(ImageConfig(()), User(1, 2, (3, 4)))["process"]["user"] == {
        "uid": 1,
        "gid": 2,
        "additionalGids": [3, 4],
    }
    assert convert(ImageConfig(()))["process"]["user"] == {"uid": 0, "gid": 0}


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[tuple[Path, RootDirectory]]:
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:\nme:x:1000:100::/home/me:\n# comment\n42:x:7:8::/:\n")
    (root / "etc/group").write_text("root:x:0:\nusers:x:100:me\nwheel:x:10:root,me\naudio:x:29:me\n")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    door = RootDirectory(fd)
    yield root, door
    door.close()
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0)),
        ("me", User(1000, 100, (10, 29))),
        ("me:wheel", User(1000, 10)),
        ("me:5", User(1000, 5)),
        ("1000", User(1000, 100)),
        ("5555", User(5555, 0)),
        ("5555:users", User(5555, 100)),
        ("5555:6666", User(5555, 6666)),
        ("42", User(7, 8)),
        ("4294967294", User(4294967294, 0)),
    ],
)
def test_users_are_looked_up_in_the_image(rootfs: tuple[Path, RootDirectory], text: str, user: User) -> None:
    assert resolve_user(text, rootfs[1]) == user


@pytest.mark.parametrize(
    "text", ["nobody", "me:nogroup", "4294967295", "99999999999999999999", ":", "-1", "1:-1"]
)
def test_unknown_and_impossible_users_are_refused(rootfs: tuple[Path, RootDirectory], text: str) -> None:
    with pytest.raises(ImageError):
        resolve_user(text, rootfs[1])


def test_passwd_as_a_link_stays_inside_the_image(rootfs: tuple[Path, RootDirectory], tmp_path: Path) -> None:
    root, door = rootfs
    (tmp_path / "host").write_text("evil:x:666:666::/:\n")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(tmp_path / "host")
    with pytest.raises(ImageError, match="not in the image"):
        resolve_user("evil", door)
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("../../../inside")
    (root / "inside").write_text("me:x:7:7::/:\n")
    assert resolve_user("me:0", door) == User(7, 0)


def test_passwd_must_be_a_regular_file(rootfs: tuple[Path, RootDirectory]) -> None:
    root, door = rootfs
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    with pytest.raises(ImageError, match="not a regular file"):
        resolve_user("me", door)


def test_id_ranges_are_parsed_and_applied() -> None:
    ids = IdMap((parse_id_range("0:100000:10"), parse_id_range("1000:5")))
    assert (ids.to_host(3, "uid"), ids.to_host(1000, "uid")) == (100003, 5)
    with pytest.raises(ImageError, match="uid 11 is not in the uid map, which has 11 ids"):
        ids.to_host(11, "uid")
    for wrong in ("0", "0:0:0", "a:b:c", "0:4294967290:10", "1:2:3:4", "-1:0:1"):
        with pytest.raises(UsageError):
            parse_id_range(wrong)
