"""The bundle that every check starts from, and changes of it by JSON pointer."""

import copy
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
Changes = Mapping[str, Any]
ABSENT = object()  # as the value of a change: the entry is removed

DIRECTORIES = ("proc", "sys/fs/cgroup", "dev", "tmp", "data", "data/inside", "etc")
NAMESPACES = ("pid", "mount", "ipc", "uts", "network")


def plain_config() -> JsonObject:
    """A small valid config: own namespaces, no capability, root in a writable rootfs."""
    tmpfs = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    terminal = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe"],
            "env": ["PATH=/"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": tmpfs},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": terminal},
        ],
        "linux": {"namespaces": [{"type": name} for name in NAMESPACES]},
    }


def changed(config: JsonObject, changes: Changes) -> JsonObject:
    """A copy of `config` with each value at its pointer; missing objects are made, `-` appends to an array, and "" is
    the whole config."""
    result: JsonObject = copy.deepcopy(changes.get("", config))
    for pointer, value in changes.items():
        if not pointer:
            continue
        *way, last = pointer.removeprefix("/").split("/")
        place: Any = result
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if value is ABSENT:
            place.pop(last, None)
        elif isinstance(place, list):
            place.append(value)
        elif last == "-":
            raise ValueError(f"{pointer}: not an array")
        else:
            place[last] = value
    return result


def write_bundle(directory: str, config: JsonObject, probe: str) -> None:
    """Make `directory` a bundle whose rootfs holds the probe and a few empty directories."""
    rootfs = f"{directory}/rootfs"
    for name in DIRECTORIES:
        os.makedirs(f"{rootfs}/{name}", exist_ok=True)
    shutil.copy(probe, f"{rootfs}/probe")
    for name in ("hello", "data/inside/file"):
        with open(f"{rootfs}/{name}", "w", encoding="utf-8") as file:
            file.write("content\n")
        os.chmod(f"{rootfs}/{name}", 0o666)
    with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
