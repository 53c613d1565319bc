"""podman with conmon: the same commands with runc and with pyruntime.

One sandbox serves the whole module; each runtime has its own storage in it.
"""

import json
import os
from collections.abc import Iterator

import pytest

from tests.engines import images
from tests.engines.daily_work import DAY, SECCOMP, TRAP, work_a_day
from tests.engines.differential import RUNTIMES, Differential, need, runtime_path
from tests.engines.podman import Podman, prepare
from tests.engines.registry import start_registry
from tests.engines.sandbox import Outcome, Sandbox

pytestmark = pytest.mark.privileged
IMAGE = images.NAME


@pytest.fixture(scope="module")
def podman() -> Iterator[Differential[Podman]]:
    need("podman", "conmon", "runc")
    with Sandbox() as sandbox:
        prepare(sandbox)
        engines = {name: Podman(sandbox, name) for name in RUNTIMES}
        for engine in engines.values():
            engine.check("load", "--input", f"{sandbox.directory}/box.tar")
        yield Differential(engines)


@pytest.fixture
def running(podman: Differential[Podman]) -> Iterator[str]:
    """A detached container that exits with 3 on SIGTERM."""

    def start(engine: Podman) -> None:
        engine.check("run", "-d", "--name", "box", "--net=none", IMAGE, "sh", "-c", TRAP)
        engine.wait_log("box", "up")

    try:
        podman.each(start)
        yield "box"
    finally:
        podman.each(lambda engine: engine.call("rm", "-f", "-t", "0", "box").code)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (("echo", "hi"), 0),
        (("sh", "-c", "echo out; echo err >&2; exit 7"), 7),
        (("/nope",), 127),
        (("nope",), 127),
        (("/etc",), 126),
        (("/etc/data",), 126),
    ],
)
def test_run_and_its_exit_codes(podman: Differential[Podman], program: tuple[str, ...], code: int) -> None:
    assert podman.same("run", "--rm", "--net=none", IMAGE, *program).code == code
    assert podman.same("ps", "-aq").out == ""


def test_wrong_options_exit_125(podman: Differential[Podman]) -> None:
    assert podman.same("run", "--no-such-option", IMAGE).code == 125


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        (("--memory=50m",), "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "52428800\n"),
        (("--cpus=0.5",), "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        (("--pids-limit=33",), "cat /sys/fs/cgroup/pids/pids.max", "33\n"),
        (("--cap-drop=ALL",), "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"),
        (("--read-only",), "touch /x; echo $?", "1\n"),
        (("--tmpfs=/data:size=1m",), "grep -c ' /data tmpfs' /proc/mounts", "1\n"),
        (("--user=guest", "--workdir=/tmp"), "id -u; pwd", "1000\n/tmp\n"),
        (("--env=A=b", "--hostname=h"), "echo $A; hostname", "b\nh\n"),
        (("--uidmap=0:100000:2000", "--gidmap=0:100000:2000"), "cut -c1-40 /proc/self/uid_map", None),
        (("--userns=auto",), "cut -c1-40 /proc/self/uid_map; touch /tmp/x; stat -c %u /tmp/x", None),
        (
            ("--systemd=always",),
            "cut -d' ' -f2-3 /proc/mounts | sort; grep -c '/sys/fs/cgroup .* rw,' /proc/mounts",
            None,
        ),
        (("--init",), "cat /proc/1/cmdline | cut -c1-9", None),
        (("--privileged",), "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        (("--security-opt=no-new-privileges",), "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        (("--sysctl=kernel.msgmax=9000",), "cat /proc/sys/kernel/msgmax", "9000\n"),
        (
            ("--ulimit=core=7:7", "--ulimit=nofile=99:99", "--ulimit=nproc=99:99"),
            "grep core /proc/self/limits",
            None,
        ),
        (("--shm-size=2m",), "grep -c ' /dev/shm .*size=2048k' /proc/mounts", "1\n"),
        (("--device=/dev/null:/dev/mine",), "echo x > /dev/mine; echo $?", "0\n"),
        (("--ipc=host", "--uts=host"), "hostname >/dev/null; echo $?", "0\n"),
        (("--pid=host",), "test $$ -gt 1; echo $?", "0\n"),
    ],
)
def test_run_options(
    podman: Differential[Podman], options: tuple[str, ...], script: str, expected: str | None
) -> None:
    if not os.path.isdir("/sys/fs/cgroup/memory") and "/sys/fs/cgroup/" in script:
        pytest.skip("reads the files of cgroup v1")
    outcome = podman.same("run", "--rm", "--net=none", *options, IMAGE, "sh", "-c", script)
    assert outcome.code == 0
    assert expected is None or outcome.out == expected


def test_volumes_and_seccomp_profiles(podman: Differential[Podman]) -> None:
    sandbox = podman.engines["runc"].sandbox
    folder = os.path.dirname(sandbox.write("shared/file", "from outside\n"))
    profile = sandbox.write("seccomp.json", json.dumps(SECCOMP))
    bound = podman.same("run", "--rm", "--net=none", "-v", f"{folder}:/data:ro", IMAGE, "cat", "/data/file")
    assert bound.out == "from outside\n"
    refused = podman.same(
        "run", "--rm", "--net=none", f"--security-opt=seccomp={profile}", IMAGE, "mkdir", "/x"
    )
    assert (refused.code, "Operation not permitted" in refused.err) == (1, True)


def test_exec(podman: Differential[Podman], running: str) -> None:
    assert podman.same("exec", running, "sh", "-c", "echo hi; exit 5") == Outcome(5, "hi\n", "")
    assert podman.same(
        "exec", "-u", "guest", "-w", "/tmp", "-e", "A=b", running, "sh", "-c", "id -u; pwd; echo $A"
    ).out
    assert podman.same("exec", "-i", running, "cat", stdin="typed\n").out == "typed\n"
    assert podman.same("exec", running, "/nope").code == 127
    assert podman.same("exec", running, "/etc/data").code == 126
    podman.each(lambda engine: engine.call("exec", "-d", running, "touch", "/tmp/done").code)
    assert podman.same("exec", "-t", running, "tty").out.startswith("/dev/pts/")


def test_terminals(podman: Differential[Podman], running: str) -> None:
    def talk(engine: Podman) -> tuple[int, bool, int, bool]:
        asked = ("run", "--rm", "-it", "--net=none", IMAGE, "sh")
        code, shown = engine.in_terminal(*asked, typed="tty; exit 4\n")
        inside, more = engine.in_terminal("exec", "-it", running, "sh", typed="tty; exit 6\n")
        return code, "/dev/" in shown, inside, "/dev/pts/" in more

    assert podman.each(talk) == (4, True, 6, True)


def test_stop_gives_the_exit_code_of_the_trap(podman: Differential[Podman], running: str) -> None:
    podman.same("stop", running)
    assert (
        podman.each(lambda engine: engine.inspect("{{.State.Status}} {{.State.ExitCode}}", running))
        == "exited 3"
    )
    assert podman.same("logs", running).out == "up\n"
    podman.same("kill", running)
    podman.same("exec", running, "true")


def test_kill_pause_and_look(podman: Differential[Podman], running: str) -> None:
    podman.same("pause", running)
    assert podman.each(lambda engine: engine.inspect("{{.State.Status}}", running)) == "paused"
    podman.same("exec", running, "true")
    podman.same("unpause", running)
    assert podman.each(lambda engine: "sh -c trap" in engine.check("top", running))
    assert podman.each(lambda engine: "box" in engine.check("stats", "--no-stream", running))
    assert podman.same("ps", "--format", "{{.Names}} {{.Image}}").out == f"box {IMAGE}\n"
    podman.same("kill", "-s", "WINCH", running)
    podman.same("kill", running)
    assert podman.each(lambda engine: engine.check("wait", running)) == "137\n"


def test_update(podman: Differential[Podman], running: str) -> None:
    assert podman.each(lambda engine: engine.call("update", "--memory=60m", running).code) == 0
    podman.same("exec", running, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def test_healthcheck_and_restart(podman: Differential[Podman]) -> None:
    def scenario(engine: Podman) -> tuple[int, int, str]:
        engine.check(
            "run", "-d", "--name", "well", "--net=none", "--health-cmd=test -e /tmp/ok", "--health-interval=disable",
            IMAGE, "sh", "-c", TRAP,
        )  # fmt: skip
        engine.wait_log("well", "up")
        ill = engine.call("healthcheck", "run", "well").code
        engine.check("exec", "well", "touch", "/tmp/ok")
        well = engine.call("healthcheck", "run", "well").code
        engine.check("restart", "-t", "1", "well")
        status = engine.inspect("{{.State.Status}}", "well")
        engine.check("rm", "-f", "-t", "0", "well")
        return ill, well, status

    assert podman.each(scenario) == (1, 0, "running")


def test_attach_copy_and_diff(podman: Differential[Podman], running: str) -> None:
    def scenario(engine: Podman) -> list[object]:
        copy = f"{engine.directory}/copied"
        engine.check("cp", f"{running}:/etc/data", copy)
        engine.check("cp", copy, f"{running}:/data/copy")
        seen: list[object] = [
            engine.check("exec", running, "cat", "/data/copy"),
            "A /data/copy" in engine.check("diff", running).splitlines(),
        ]
        engine.check(
            "run",
            "-d",
            "-i",
            "--name",
            "listener",
            "--net=none",
            IMAGE,
            "sh",
            "-c",
            "read a; echo got $a; exit 8",
        )
        try:
            seen.append(engine.check("attach", "listener", stdin="typed\n").strip())
            seen.append(engine.check("wait", "listener"))
        finally:
            engine.check("rm", "-f", "-t", "0", "listener")
        return seen

    assert podman.each(scenario) == ["data\n", True, "got typed", "8\n"]


def test_a_network_with_published_ports(podman: Differential[Podman]) -> None:
    """podman's default network: a bridge, and rules that lead a port of the host to the container."""

    def scenario(engine: Podman) -> list[str]:
        port = 8080 + RUNTIMES.index(engine.runtime)
        serve = ("httpd", "-f", "-p", "80", "-h", "/etc")
        engine.check("run", "-d", "--name", "server", "-p", f"127.0.0.1:{port}:80", IMAGE, *serve)
        try:
            address = engine.inspect("{{.NetworkSettings.IPAddress}}", "server")
            fetch = ("wget", "-qO-", f"http://{address}/data")
            return [
                engine.sandbox.check("busybox", "wget", "-qO-", f"http://127.0.0.1:{port}/data"),
                engine.check("run", "--rm", IMAGE, *fetch),
                engine.check("run", "--rm", "--net=container:server", IMAGE, *fetch),
            ]
        finally:
            engine.check("rm", "-f", "-t", "0", "server")

    assert podman.each(scenario) == ["data\n"] * 3


def test_pods_share_their_network(podman: Differential[Podman]) -> None:
    def scenario(engine: Podman) -> tuple[bool, int]:
        engine.check("pod", "create", "--name", "p", "--infra-image", IMAGE, "--infra-command", "sleep 100",
                     "--net=none", f"--cgroup-parent={engine.sandbox.cgroup}")  # fmt: skip
        try:
            nets = [
                engine.check("run", "--rm", "--pod", "p", IMAGE, "readlink", "/proc/self/ns/net")
                for _ in "ab"
            ]
            return nets[0] == nets[1], engine.call("pod", "ps", "-q").code
        finally:
            engine.check("pod", "rm", "-f", "-t", "0", "p")

    assert podman.each(scenario) == (True, 0)


def test_daily_work(podman: Differential[Podman]) -> None:
    """What daily_work.sh does in a day, its push and pull included."""

    def work(engine: Podman) -> str:
        out = work_a_day(engine, "podman", *engine.options())
        engine.check("load", "--input", f"{engine.sandbox.directory}/box.tar")
        return out

    with start_registry(podman.engines["runc"].sandbox):
        assert podman.each(work) == DAY


def test_a_runtime_named_by_its_path(podman: Differential[Podman]) -> None:
    """Errors then come from standard error, not from the JSON log."""

    def scenario(engine: Podman) -> list[int]:
        run = (
            "--runtime",
            runtime_path(engine.runtime),
            *engine.arguments("run", "--rm", "--net=none", IMAGE),
        )
        return [engine.call(*run, *program).code for program in (("true",), ("/nope",), ("/etc",))]

    assert podman.each(scenario) == [0, 127, 126]
