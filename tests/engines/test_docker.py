"""dockerd with pyruntime added as a runtime: the same commands with runc and with pyruntime.

Each runtime has a daemon of its own, whose default it is.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engines import images
from tests.engines.daily_work import DAY, SECCOMP, TRAP, work_a_day
from tests.engines.differential import RUNTIMES, Differential, need, runtime_path
from tests.engines.engine import Engine
from tests.engines.registry import start_registry
from tests.engines.sandbox import Outcome, Place, Sandbox

pytestmark = pytest.mark.privileged
IMAGE = images.NAME


class Docker(Engine):
    """The client of a daemon whose default runtime is this one."""

    def __init__(self, sandbox: Place, runtime: str) -> None:
        super().__init__(sandbox, runtime)
        self.command = ["docker", *client(sandbox)]

    def wait_state(self, template: str, name: str, state: str) -> None:
        deadline = time.monotonic() + 20
        while (seen := self.inspect(template, name)) != state:
            assert time.monotonic() < deadline, f"{name} is {seen}, not {state}"
            time.sleep(0.1)

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        if arguments[0] != "run":
            return arguments
        network = () if any(argument.startswith("--net") for argument in arguments) else ("--net=none",)
        return "run", "--runtime", self.runtime, *network, *arguments[1:]


def client(sandbox: Place) -> list[str]:
    return ["--config", f"{sandbox.directory}/client", "--host", f"unix://{sandbox.directory}/docker.sock"]


@contextlib.contextmanager
def start_daemon(runtime: str) -> Iterator[Docker]:
    """A sandbox with a daemon that has both runtimes, and the image loaded."""
    with Sandbox({"DOCKER_BUILDKIT": "0"}) as sandbox:
        top = sandbox.directory
        images.write_archive(sandbox.seen("box.tar"))
        added = [f"--add-runtime={name}={runtime_path(name)}" for name in RUNTIMES if name != "runc"]
        daemon = (
            "dockerd", "--config-file", sandbox.write("daemon.json", "{}"), "--host", f"unix://{top}/docker.sock",
            "--data-root", f"{top}/data", "--exec-root", f"{top}/exec", "--pidfile", f"{top}/pid",
            "--storage-driver=overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--cgroup-parent", sandbox.cgroup, *added, "--default-runtime", runtime,
        )  # fmt: skip
        with sandbox.daemon("dockerd", *daemon, ready=("docker", *client(sandbox), "info")):
            engine = Docker(sandbox, runtime)
            engine.check("load", "--input", f"{top}/box.tar")
            yield engine


@pytest.fixture(scope="module")
def docker() -> Iterator[Differential[Docker]]:
    need("dockerd", "containerd", "runc", "iptables")
    with contextlib.ExitStack() as daemons:
        yield Differential({name: daemons.enter_context(start_daemon(name)) for name in RUNTIMES})


@pytest.fixture
def running(docker: Differential[Docker]) -> Iterator[str]:
    """A detached container that exits with 3 on SIGTERM."""

    def start(engine: Docker) -> None:
        engine.check("run", "-d", "--name", "box", IMAGE, "sh", "-c", TRAP)
        engine.wait_log("box", "up")

    try:
        docker.each(start)
        yield "box"
    finally:
        docker.each(lambda engine: engine.call("rm", "-f", "box").code)


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
def test_run_and_its_exit_codes(docker: Differential[Docker], program: tuple[str, ...], code: int) -> None:
    assert docker.same("run", "--rm", IMAGE, *program).code == code


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        (
            ("--memory=50m", "--memory-swap=50m"),
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes",
            "52428800\n",
        ),
        (("--pids-limit=33",), "cat /sys/fs/cgroup/pids/pids.max", "33\n"),
        (("--cap-drop=ALL",), "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"),
        (("--read-only", "--tmpfs=/data"), "touch /x; echo $?; touch /data/x; echo $?", "1\n0\n"),
        (("--user=guest", "--workdir=/tmp"), "id -u; pwd", "1000\n/tmp\n"),
        (("--security-opt=seccomp=unconfined",), "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        ((), "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
        (("--security-opt=no-new-privileges",), "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        (("--cpus=0.5",), "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        (("--cpu-shares=512", "--cpuset-cpus=0"), "cat /sys/fs/cgroup/cpu/cpu.shares; nproc", "512\n1\n"),
        (("--env=A=b", "--hostname=h", "--group-add=5"), "echo $A; hostname; id -G", "b\nh\n0 5\n"),
        (
            ("--volume=/data", "--shm-size=2m"),
            "grep -c -e ' /data ' -e ' /dev/shm .*size=2048k' /proc/mounts",
            "2\n",
        ),
        (("--device=/dev/null:/dev/mine",), "echo x > /dev/mine; echo $?", "0\n"),
        (("--pid=host", "--ipc=host", "--uts=host"), "test $$ -gt 1; echo $?", "0\n"),
        (
            ("--sysctl=kernel.msgmax=9000", "--ulimit=nofile=77:77"),
            "cat /proc/sys/kernel/msgmax; ulimit -n",
            "9000\n77\n",
        ),
        (("--oom-score-adj=900",), "cat /proc/self/oom_score_adj", "900\n"),
        (("--init",), "cut -c1-17 /proc/1/cmdline", None),
    ],
)
def test_run_options(
    docker: Differential[Docker], options: tuple[str, ...], script: str, expected: str | None
) -> None:
    if not os.path.isdir("/sys/fs/cgroup/memory") and "/sys/fs/cgroup/" in script:
        pytest.skip("reads the files of cgroup v1")
    outcome = docker.same("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert expected is None or (outcome.code, outcome.out) == (0, expected)


def test_exec(docker: Differential[Docker], running: str) -> None:
    assert docker.same("exec", running, "sh", "-c", "echo hi; exit 5") == Outcome(5, "hi\n", "")
    assert (
        docker.same("exec", "-u", "guest", "-e", "A=b", running, "sh", "-c", "id -u; echo $A").out
        == "1000\nb\n"
    )
    assert docker.same("exec", "-i", running, "cat", stdin="typed\n").out == "typed\n"
    assert docker.each(lambda engine: engine.call("exec", running, "/nope").code) in (126, 127)


def test_terminals(docker: Differential[Docker], running: str) -> None:
    def talk(engine: Docker) -> tuple[int, bool, int, bool]:
        code, shown = engine.in_terminal("run", "--rm", "-it", IMAGE, "sh", typed="tty; exit 4\n")
        inside, more = engine.in_terminal("exec", "-it", running, "sh", typed="tty; exit 6\n")
        return code, "/dev/" in shown, inside, "/dev/pts/" in more

    assert docker.each(talk) == (4, True, 6, True)


def test_attach(docker: Differential[Docker]) -> None:
    wait = "while ! test -e /tmp/go; do sleep 0.1; done; echo got; sleep 0.5; exit 8"

    def attach(engine: Docker) -> Outcome:
        engine.check("run", "-d", "--name", "wait", IMAGE, "sh", "-c", wait)
        try:
            with ThreadPoolExecutor(1) as pool:
                attached = pool.submit(engine.call, "attach", "--no-stdin", "wait")
                time.sleep(1)  # nothing tells from outside that the client is attached
                engine.check("exec", "wait", "touch", "/tmp/go")
                return attached.result()
        finally:
            engine.check("rm", "-f", "wait")

    assert docker.each(attach) == Outcome(8, "got\n", "")


def test_look_copy_and_stop(docker: Differential[Docker], running: str) -> None:
    docker.same("pause", running)
    assert docker.each(lambda engine: engine.inspect("{{.State.Status}}", running)) == "paused"
    docker.same("unpause", running)
    assert docker.each(lambda engine: "sh -c trap" in engine.check("top", running))
    assert docker.each(lambda engine: "box" in engine.check("stats", "--no-stream", running))
    docker.same("exec", running, "touch", "/data/new")
    assert "A /data/new" in docker.same("diff", running).out
    assert docker.each(lambda engine: engine.check("cp", "box:/etc/data", f"{engine.directory}/data")) == ""
    docker.same("restart", running)
    docker.same("stop", running)
    assert docker.each(lambda engine: engine.inspect("{{.State.ExitCode}}", running)) == "3"
    assert docker.same("logs", running).out == "up\nup\n"
    docker.same("start", running)
    docker.same("kill", running)
    assert docker.same("wait", running).out == "137\n"


def test_update(docker: Differential[Docker], running: str) -> None:
    docker.same("update", "--memory=60m", "--memory-swap=60m", running)
    docker.same("exec", running, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def test_daily_work(docker: Differential[Docker]) -> None:
    """What daily_work.sh does in a day, its push and pull included."""

    def work(engine: Docker) -> str:
        with start_registry(engine.sandbox):
            return work_a_day(engine, "docker", *client(engine.sandbox))

    assert docker.each(work) == DAY


def test_a_network_with_published_ports(docker: Differential[Docker]) -> None:
    """docker's default network: the daemon enters the container's network from a prestart hook."""

    def scenario(engine: Docker) -> list[str]:
        serve = ("httpd", "-f", "-p", "80", "-h", "/etc")
        engine.check(
            "run", "-d", "--name", "server", "--network=bridge", "-p", "127.0.0.1:8080:80", IMAGE, *serve
        )
        try:
            address = engine.inspect("{{.NetworkSettings.IPAddress}}", "server")
            fetch = ("wget", "-qO-", f"http://{address}/data")
            return [
                engine.sandbox.check("busybox", "wget", "-qO-", "http://127.0.0.1:8080/data"),
                engine.check("run", "--rm", "--network=bridge", IMAGE, *fetch),
                engine.check("run", "--rm", "--network=container:server", IMAGE, *fetch),
            ]
        finally:
            engine.check("rm", "-f", "server")

    assert docker.each(scenario) == ["data\n"] * 3


def test_privileged(docker: Differential[Docker]) -> None:
    """runc refuses it to a root without all capabilities; pyruntime gives what there is."""
    engine = docker.engines["pyruntime"]
    script = "mount -t tmpfs none /data; grep -c ' /data tmpfs' /proc/mounts"
    assert engine.check("run", "--rm", "--privileged", IMAGE, "sh", "-c", script) == "1\n"


def test_volumes_and_seccomp_profiles(docker: Differential[Docker]) -> None:
    def run(engine: Docker) -> tuple[str, int, bool]:
        folder = str(Path(engine.sandbox.write("shared/file", "from outside\n")).parent)
        profile = engine.sandbox.write("seccomp.json", json.dumps(SECCOMP))
        bound = engine.check("run", "--rm", "-v", f"{folder}:/data:ro", IMAGE, "cat", "/data/file")
        refused = engine.call("run", "--rm", f"--security-opt=seccomp={profile}", IMAGE, "mkdir", "/x")
        return bound, refused.code, "Operation not permitted" in refused.err

    assert docker.each(run) == ("from outside\n", 1, True)


def test_health_and_restart_policies(docker: Differential[Docker]) -> None:
    def scenario(engine: Docker) -> list[str]:
        health = ("--health-cmd=test -e /tmp/ok", "--health-interval=200ms", "--health-retries=1")
        engine.check("run", "-d", "--name", "well", *health, IMAGE, "sh", "-c", TRAP)
        engine.check(
            "run", "-d", "--name", "again", "--restart=on-failure:2", IMAGE, "sh", "-c", "echo ran; exit 5"
        )
        try:
            engine.wait_state("{{.State.Health.Status}}", "well", "unhealthy")
            engine.check("exec", "well", "touch", "/tmp/ok")
            engine.wait_state("{{.State.Health.Status}}", "well", "healthy")
            engine.wait_state("{{.RestartCount}} {{.State.Status}}", "again", "2 exited")
            return [engine.check("logs", "again"), engine.inspect("{{.State.ExitCode}}", "again")]
        finally:
            engine.check("rm", "-f", "well", "again")

    assert docker.each(scenario) == ["ran\n" * 3, "5"]


def test_a_build_that_fails(docker: Differential[Docker]) -> None:
    def build(engine: Docker) -> tuple[int, bool]:
        engine.sandbox.write("build/Dockerfile", f"FROM {IMAGE}\nRUN exit 9\n")
        failed = engine.call("build", f"{engine.sandbox.directory}/build")
        return failed.code, "returned a non-zero code: 9" in failed.out + failed.err

    assert docker.each(build) == (9, True)
