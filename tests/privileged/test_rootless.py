"""Containers of an ordinary user: the tests' root becomes that user, who has no rights over cgroups."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import program
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]

USER = 54321


class Person:
    """An ordinary user with a bundle of its own."""

    def __init__(self, runtime: Runtime, prefix: tuple[str, ...] = ()) -> None:
        self.home = runtime.directory / "home"
        self.home.mkdir()
        self.bundle = runtime.bundle("true")
        config = self.bundle / "config.json"
        config.unlink()
        for path in [self.home, self.bundle, *self.bundle.rglob("*")]:
            os.chown(path, USER, USER, follow_symlinks=False)
        self.prefix = [*prefix, *reachable_program(runtime.directory), "--root", str(self.home / "state")]
        self.call("spec", "--rootless", "--bundle", str(self.bundle))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"]["terminal"] = False
        config["root"]["readonly"] = False
        change(config)
        path.write_text(json.dumps(config))

    def call(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.prefix, *words], capture_output=True, text=True, timeout=60, check=False, cwd="/",
            stdin=subprocess.DEVNULL, user=USER, group=USER, extra_groups=[], env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def run(self, script: str, change: Callable[[dict[str, Any]], None], *, check: bool = True) -> str:
        def edit(config: dict[str, Any]) -> None:
            config["process"]["args"] = ["sh", "-c", script]
            change(config)

        self.edit(edit)
        done = self.call("run", "--bundle", str(self.bundle), "box", check=check)
        return done.stdout if check else done.stderr


def reachable_program(directory: Path) -> list[str]:
    """The program, where an ordinary user may run it: a single file is copied, a script has to be reachable."""
    path, *more = program("pyruntime")
    if more == [] and Path(path).read_bytes()[:4] == b"\x7fELF":
        shutil.copy(path, directory / "pyruntime")
        return [str(directory / "pyruntime")]
    words = [path, *more, "--version"]
    try:
        subprocess.run(
            words, check=True, capture_output=True, user=USER, group=USER, extra_groups=[], cwd="/"
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{path} cannot be run by an ordinary user")
    return [path, *more]


def nothing(_config: dict[str, Any]) -> None:
    return


def test_one_id_is_mapped_without_help(runtime: Runtime) -> None:
    person = Person(runtime)
    script = "id -u; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/mine; echo x > /dev/null; exit 0"
    words = person.run(script, nothing).split()
    assert words == ["0", "0", str(USER), "1", "deny"]
    assert (person.bundle / "rootfs/tmp/mine").stat().st_uid == USER
    assert not list((person.home / "state").glob("[!.]*"))


def test_the_whole_life_and_exec_without_rights_over_cgroups(runtime: Runtime) -> None:
    person = Person(runtime)
    person.edit(lambda config: config["process"].update(args=["sleep", "100"]))
    detached = (
        f"exec {' '.join(person.prefix)} create --bundle {person.bundle} box >/dev/null 2>&1 </dev/null"
    )
    subprocess.run(
        ["sh", "-c", detached], check=True, timeout=60, user=USER, group=USER, extra_groups=[], cwd="/"
    )
    person.call("start", "box")
    assert json.loads(person.call("state", "box").stdout)["status"] == "running"
    assert person.call("exec", "box", "id", "-u").stdout == "0\n"
    assert person.call("exec", "box", "sh", "-c", "exit 9", check=False).returncode == 9
    person.call("kill", "box", "KILL")
    person.call("delete", "--force", "box")
    assert person.call("list", "-q").stdout == ""


def test_limits_that_cannot_be_set_are_refused_and_not_forgotten(runtime: Runtime) -> None:
    person = Person(runtime)

    def limited(config: dict[str, Any]) -> None:
        config["linux"]["resources"] = {"pids": {"limit": 7}}

    error = person.run("true", limited, check=False)
    assert "rootless" in error or "permission denied" in error
    assert not list((person.home / "state").glob("[!.]*"))


def test_supplementary_groups_need_more_than_one_id(runtime: Runtime) -> None:
    person = Person(runtime)
    error = person.run(
        "true", lambda config: config["process"]["user"].update(additionalGids=[0]), check=False
    )
    assert error
    assert not list((person.home / "state").glob("[!.]*"))


def test_ranges_of_ids_come_from_newuidmap(runtime: Runtime) -> None:
    if shutil.which("newuidmap") is None:
        pytest.skip("no newuidmap on this machine")
    person = Person(runtime, prefix=())
    # The helpers read the ranges of a user by name or number; a private /etc holds them.
    etc = runtime.directory / "etc"
    shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    (etc / "passwd").write_text(Path("/etc/passwd").read_text() + f"person:x:{USER}:{USER}::/:/bin/sh\n")
    (etc / "subuid").write_text("person:700000:65536\n")
    (etc / "subgid").write_text("person:700000:65536\n")

    def mapped(config: dict[str, Any]) -> None:
        table = [
            {"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": 700000, "size": 65536},
        ]
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = table
        config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
        config["process"]["args"] = ["sh", "-c", "id -u; id -G; cat /proc/self/uid_map"]

    person.edit(mapped)
    switch = f"import os; os.setgroups([]); os.setgid({USER}); os.setuid({USER}); os.chdir('/')"
    command = [*person.prefix, "run", "--bundle", str(person.bundle), "box"]
    script = f"{switch}; os.execvp({command[0]!r}, {command!r})"
    # The folder is on a file system that may forbid set-user-id programs; only /etc is taken from there.
    shell = f'mount --bind {etc} /etc && exec python3 -c "$0"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, script],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:3] == ["5", "6", "7"]
    assert words[3:] == ["0", str(USER), "1", "1", "700000", "65536"]


def test_root_of_a_user_namespace_makes_containers(runtime: Runtime) -> None:
    person = Person(
        runtime, prefix=("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
    )
    words = person.run("id -u; cat /proc/self/uid_map", _map_root).split()
    assert words == ["0", "0", "0", "1"]


def _map_root(config: dict[str, Any]) -> None:
    table = [{"containerID": 0, "hostID": 0, "size": 1}]
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = table
