"""dockerd with pyruntime added as a runtime: the same commands with runc and with pyruntime.

One daemon serves the whole module; containers are named after their runtime.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engines import images
from tests.engines.differential import RUNTIMES, Differential, need, runtime_path
from tests.engines.engine import Engine
from tests.engines.registry import ADDRESS, start_registry
from tests.engines.sandbox import Outcome, Sandbox

pytestmark = pytest.mark.privileged
IMAGE = images.NAME
TRAP = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"


class Docker(Engine):
    """The client of the module's daemon; BOX in arguments stands for this runtime's container."""

    def __init__(self, sandbox: Sandbox, runtime: str) -> None:
        super().__init__(sandbox, runtime)
        self.command = client(sandbox)

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        arguments = tuple(argument.replace("BOX", f"box-{self.runtime}") for argument in arguments)
        if arguments[0] == "run":
            return "run", "--runtime", self.runtime, "--net=none", *arguments[1:]
        return arguments

    def call(self, *arguments: str, stdin: str = "") -> Outcome:
        """As for every engine; the runtime's container and directory are BOX in the outputs too."""
        outcome = super().call(*arguments, stdin=stdin)
        return Outcome(outcome.code, *(text.replace(f"box-{self.runtime}", "BOX") for text in outcome[1:]))


def client(sandbox: Sandbox) -> list[str]:
    places = ("--config", f"{sandbox.directory}/client", "--host", f"unix://{sandbox.directory}/docker.sock")
    # a newer client elsewhere on the path may refuse the daemon
    return ["/usr/bin/docker", *places]


@contextlib.contextmanager
def start_daemon(default: str) -> Iterator[Sandbox]:
    """A sandbox with a daemon that knows both runtimes, and the image loaded."""
    need("dockerd", "containerd", "runc")
    with Sandbox() as sandbox:
        top = sandbox.directory
        images.write_archive(sandbox.seen("box.tar"))
        daemon = (
            "dockerd", "--config-file", sandbox.write("daemon.json", "{}"), "--host", f"unix://{top}/docker.sock",
            "--data-root", f"{top}/data", "--exec-root", f"{top}/exec", "--pidfile", f"{top}/pid",
            "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2",
            "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", sandbox.cgroup,
            "--add-runtime", f"pyruntime={runtime_path('pyruntime')}", "--default-runtime", default,
        )  # fmt: skip
        with sandbox.daemon("dockerd", *daemon, ready=(*client(sandbox), "info")):
            sandbox.check(*client(sandbox), "load", "--input", f"{top}/box.tar")
            yield sandbox


@pytest.fixture(scope="module")
def docker() -> Iterator[Differential[Docker]]:
    with start_daemon("runc") as sandbox:
        yield Differential({name: Docker(sandbox, name) for name in RUNTIMES})


@pytest.fixture
def running(docker: Differential[Docker]) -> Iterator[str]:
    """A detached container that exits with 3 on SIGTERM."""

    def start(engine: Docker) -> None:
        engine.check("run", "-d", "--name", "BOX", IMAGE, "sh", "-c", TRAP)
        engine.wait_log("BOX", "up")

    try:
        docker.each(start)
        yield "BOX"
    finally:
        docker.each(lambda engine: engine.call("rm", "-f", "BOX").code)


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
    ],
)
def test_run_options(
    docker: Differential[Docker], options: tuple[str, ...], script: str, expected: str
) -> None:
    if not os.path.isdir("/sys/fs/cgroup/memory") and "/sys/fs/cgroup/" in script:
        pytest.skip("reads the files of cgroup v1")
    outcome = docker.same("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert (outcome.code, outcome.out) == (0, expected)


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
        engine.check("run", "-d", "--name", "BOX-wait", IMAGE, "sh", "-c", wait)
        try:
            with ThreadPoolExecutor(1) as pool:
                attached = pool.submit(engine.call, "attach", "--no-stdin", "BOX-wait")
                time.sleep(1)  # nothing tells from outside that the client is attached
                engine.check("exec", "BOX-wait", "touch", "/tmp/go")
                return attached.result()
        finally:
            engine.check("rm", "-f", "BOX-wait")

    assert docker.each(attach) == Outcome(8, "got\n", "")


def test_look_copy_and_stop(docker: Differential[Docker], running: str) -> None:
    docker.same("pause", running)
    assert docker.each(lambda engine: engine.inspect("{{.State.Status}}", running)) == "paused"
    docker.same("unpause", running)
    assert docker.each(lambda engine: "sh -c trap" in engine.check("top", running))
    assert docker.each(lambda engine: "BOX" in engine.check("stats", "--no-stream", running))
    docker.same("exec", running, "touch", "/data/new")
    assert "A /data/new" in docker.same("diff", running).out
    assert docker.each(lambda engine: engine.check("cp", "BOX:/etc/data", f"{engine.directory}/data")) == ""
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
    """Two at once, commit, tag, save, load, export, import, remove."""

    def scenario(engine: Docker) -> list[str]:
        directory, image = engine.directory, f"localhost/{engine.runtime}"
        seen = []
        for name in ("one", "two"):
            engine.check("run", "-d", "--name", f"BOX-{name}", IMAGE, "sh", "-c", TRAP)
        for name in ("one", "two"):
            engine.check("exec", f"BOX-{name}", "sh", "-c", f"echo {name} > /tmp/name")
        seen.append(engine.check("ps", "--filter", "name=BOX", "--format", "{{.Names}}"))
        engine.check("commit", "BOX-one", f"{image}:committed")
        engine.check("tag", f"{image}:committed", f"{image}:tagged")
        seen.append(engine.check("run", "--rm", f"{image}:tagged", "cat", "/tmp/name"))
        engine.check("save", "-o", f"{directory}/saved.tar", f"{image}:tagged")
        engine.check("export", "-o", f"{directory}/exported.tar", "BOX-two")
        engine.check("rm", "-f", "BOX-one", "BOX-two")
        engine.check("rmi", f"{image}:tagged", f"{image}:committed")
        engine.check("load", "-i", f"{directory}/saved.tar")
        engine.check("import", f"{directory}/exported.tar", f"{image}:imported")
        for tag in ("tagged", "imported"):
            seen.append(engine.check("run", "--rm", f"{image}:{tag}", "/bin/cat", "/tmp/name"))
            engine.check("rmi", f"{image}:{tag}")
        seen.append(engine.check("images", "-q", image))
        return seen

    assert docker.each(scenario) == ["BOX-two\nBOX-one\n", "one\n", "one\n", "two\n", ""]


def test_push_and_pull(docker: Differential[Docker]) -> None:
    def scenario(engine: Docker) -> str:
        name = f"{ADDRESS}/{engine.runtime}:1"
        engine.check("tag", IMAGE, name)
        engine.check("push", name)
        engine.check("rmi", name)
        engine.check("pull", name)
        shown = engine.check("run", "--rm", name, "echo", "pulled")
        engine.check("rmi", name)
        return shown

    with start_registry(docker.engines["runc"].sandbox):
        assert docker.each(scenario) == "pulled\n"


def test_build_with_the_default_runtime() -> None:
    """A daemon of its own: what builds is its default runtime."""
    with start_daemon("pyruntime") as sandbox:
        engine = Docker(sandbox, "pyruntime")
        sandbox.environment["DOCKER_BUILDKIT"] = "0"
        sandbox.write(
            "build/Dockerfile", f"FROM {IMAGE}\nRUN echo built > /made && id -u >> /made\nCMD cat /made\n"
        )
        engine.check("build", "--network=none", "-t", "built:1", f"{sandbox.directory}/build")
        assert engine.check("run", "--rm", "built:1") == "built\n0\n"
        sandbox.write("build/Dockerfile", f"FROM {IMAGE}\nRUN exit 9\n")
        failed = engine.call("build", "--network=none", f"{sandbox.directory}/build")
        assert (failed.code, "returned a non-zero code: 9" in failed.out + failed.err) == (9, True)
