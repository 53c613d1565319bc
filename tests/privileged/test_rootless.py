"""Containers of an ordinary user: the tests' root becomes that user, who has no rights over cgroups."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.conftest import TREE, program
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]

USER = 54321


class Person:
    """An ordinary user with a bundle of its own."""

    program: ClassVar[list[str]] = []

    def __init__(self, runtime: Runtime, prefix: tuple[str, ...] = ()) -> None:
        self.home = runtime.directory / "home"
        self.home.mkdir()
        self.bundle = runtime.bundle("true")
        config = self.bundle / "config.json"
        config.unlink()
        for path in [self.home, self.bundle, *self.bundle.rglob("*")]:
            os.chown(path, USER, USER, follow_symlinks=False)
        self.prefix = [*prefix, *self.program, "--root", str(self.home / "state")]
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


@pytest.fixture(scope="module", autouse=True)
def reachable() -> Iterator[None]:
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="pyruntime-test-", dir=base) as directory:
        os.chmod(directory, 0o755)
        Person.program = reachable_program(Path(directory))
        yield


def reachable_program(directory: Path) -> list[str]:
    """The program, where an ordinary user may run it: copied if it is a single file, or in a tree that is closed."""
    path, *more = program("pyruntime")
    if more == [] and Path(path).read_bytes()[:4] == b"\x7fELF":
        shutil.copy(path, directory / "pyruntime")
        return [str(directory / "pyruntime")]
    if runs_for_user([path, *more, "--version"]):
        return [path, *more]
    library = directory / "lib"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TREE / "pyruntime", library / "pyruntime", ignore=ignored)
    executor = library / "pyruntime/execute/executor"
    subprocess.run([executor / "build.sh", executor / "executor"], check=True)
    script = directory / "start"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(library)!r})\nfrom pyruntime.cli.main import main\nsys.exit(main())\n"
    )
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        words = [python, "-IS", str(script)]
        if runs_for_user([*words, "--version"]):
            subprocess.run([python, "-m", "compileall", "-q", library], check=True)
            return words
    return [sys.executable, "-IS", str(script)]  # and the tests say what keeps it from running


def runs_for_user(words: list[str]) -> bool:
    try:
        subprocess.run(
            words, check=True, capture_output=True, user=USER, group=USER, extra_groups=[], cwd="/"
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


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


@pytest.mark.parametrize("own", [True, False])
def test_the_network_is_the_containers_own_or_the_hosts(runtime: Runtime, own: bool) -> None:
    def change(config: dict[str, Any]) -> None:
        if own:
            config["linux"]["namespaces"].append({"type": "network"})

    out = Person(runtime).run("readlink /proc/self/ns/net; cat /proc/net/dev", change).splitlines()
    devices = [line.split(":")[0].strip() for line in out[3:]]
    assert (out[0] != os.readlink("/proc/self/ns/net")) is own
    if own:
        assert devices == ["lo"]
    else:
        lines = Path("/proc/net/dev").read_text().splitlines()[2:]
        assert devices == [line.split(":")[0].strip() for line in lines]


def test_without_a_user_namespace_of_its_own_the_container_lives_in_that_of_its_caller(
    runtime: Runtime,
) -> None:
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
    person = Person(runtime, prefix=prefix)

    def inside(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "user"]
        del linux["uidMappings"], linux["gidMappings"]

    words = person.run("id -u; cat /proc/self/uid_map; echo x > /dev/null && echo device", inside).split()
    assert words == ["0", "0", str(USER), "1", "device"]


def test_what_needs_the_hosts_root_is_refused_with_the_reason(runtime: Runtime) -> None:
    person = Person(runtime)
    limit = {"type": "RLIMIT_NOFILE", "soft": 2000000, "hard": 2000000}
    error = person.run("true", lambda config: config["process"].update(rlimits=[limit]), check=False)
    assert "RLIMIT_NOFILE" in error
    error = person.run("true", lambda config: config["linux"].update(netDevices={"eth0": {}}), check=False)
    assert "netDevices" in error or "network" in error
    assert not list((person.home / "state").glob("[!.]*"))


def test_to_lower_the_oom_score_is_tolerated_as_with_runc(runtime: Runtime) -> None:
    out = Person(runtime).run(
        "cat /proc/self/oom_score_adj", lambda config: config["process"].update(oomScoreAdj=-500)
    )
    assert out.strip() == Path("/proc/self/oom_score_adj").read_text().strip()
