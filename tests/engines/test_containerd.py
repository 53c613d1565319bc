"""containerd's runc shim with pyruntime as its binary: the same ctr commands with runc and with pyruntime.

One daemon serves the whole module; each runtime has a namespace of its own in it.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.engines import images
from tests.engines.differential import RUNTIMES, Differential, need, runtime_path
from tests.engines.engine import Engine
from tests.engines.sandbox import Outcome, Sandbox

pytestmark = pytest.mark.privileged
IMAGE = images.NAME
TRAP = "trap 'exit 3' TERM; while :; do sleep 0.1; done"


class Ctr(Engine):
    """ctr with a namespace of its own."""

    def __init__(self, sandbox: Sandbox, runtime: str) -> None:
        super().__init__(sandbox, runtime)
        self.command = [*client(sandbox), "--namespace", runtime]

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        if arguments[0] == "run":
            cgroup = f"{self.sandbox.cgroup}/{self.runtime}"
            return "run", "--runc-binary", runtime_path(self.runtime), "--cgroup", cgroup, *arguments[1:]
        return arguments

    def wait_status(self, name: str, status: str) -> None:
        deadline = time.monotonic() + 10
        while not any(line.split()[::2] == [name, status] for line in self.check("tasks", "ls").splitlines()):
            assert time.monotonic() < deadline, f"{name} does not become {status}"
            time.sleep(0.05)


def client(sandbox: Sandbox) -> list[str]:
    return ["ctr", "--address", f"{sandbox.directory}/containerd.sock"]


def start_daemon(sandbox: Sandbox) -> "contextlib.AbstractContextManager[object]":
    """containerd in the sandbox; what runs under its shims survives it."""
    top = sandbox.directory
    config = sandbox.write(
        "containerd.toml",
        f'version = 2\nroot = "{top}/root"\nstate = "{top}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{top}/containerd.sock"\n[ttrpc]\naddress = "{top}/containerd.sock.ttrpc"\n',
    )
    return sandbox.daemon("containerd", "containerd", "--config", config, ready=(*client(sandbox), "version"))


@pytest.fixture(scope="module")
def ctr() -> Iterator[Differential[Ctr]]:
    need("containerd", "ctr", "runc")
    with Sandbox() as sandbox:
        images.write_archive(sandbox.seen("box.tar"))
        with contextlib.ExitStack() as daemons:
            daemons.enter_context(start_daemon(sandbox))
            engines = {name: Ctr(sandbox, name) for name in RUNTIMES}
            for engine in engines.values():
                engine.check("images", "import", f"{sandbox.directory}/box.tar")
            yield Differential(engines)


@pytest.fixture
def running(ctr: Differential[Ctr]) -> Iterator[str]:
    """A detached container that exits with 3 on SIGTERM."""
    try:
        ctr.each(lambda engine: engine.check("run", "-d", IMAGE, "box", "sh", "-c", TRAP))
        yield "box"
    finally:
        ctr.each(lambda engine: engine.call("tasks", "delete", "--force", "box").code * 0)
        ctr.each(lambda engine: engine.call("containers", "delete", "box").code)


@pytest.mark.parametrize(
    ("program", "code"),
    [(("echo", "hi"), 0), (("sh", "-c", "exit 7"), 7), (("/nope",), 1), (("nope",), 1), (("/etc/data",), 1)],
)
def test_run_and_its_exit_codes(ctr: Differential[Ctr], program: tuple[str, ...], code: int) -> None:
    assert ctr.same("run", "--rm", "--null-io" if code else "--rm", IMAGE, "once", *program).code == code


def test_exec(ctr: Differential[Ctr], running: str) -> None:
    assert ctr.same("tasks", "exec", "--exec-id", "e", running, "sh", "-c", "echo in; exit 5") == Outcome(
        5, "in\n", ""
    )
    assert ctr.same("tasks", "exec", "--exec-id", "e", running, "/nope").code == 1
    assert ctr.same("tasks", "exec", "--exec-id", "e", "--user", "1000", running, "id", "-u").out == "1000\n"


def test_pause_ps_metrics_and_kill(ctr: Differential[Ctr], running: str) -> None:
    ctr.same("tasks", "pause", running)
    ctr.each(lambda engine: engine.wait_status(running, "PAUSED"))
    ctr.same("tasks", "exec", "--exec-id", "e", running, "true")
    ctr.same("tasks", "resume", running)
    ctr.each(lambda engine: engine.wait_status(running, "RUNNING"))
    assert ctr.each(lambda engine: len(engine.check("tasks", "ps", running).splitlines()) >= 2)
    assert ctr.each(lambda engine: engine.call("tasks", "metrics", running).code) in (0, 1)
    ctr.same("tasks", "kill", "-s", "TERM", running)
    ctr.each(lambda engine: engine.wait_status(running, "STOPPED"))
    ctr.same("tasks", "kill", running)


def test_kill_all_and_forced_delete(ctr: Differential[Ctr], running: str) -> None:
    ctr.same("tasks", "kill", "--all", "-s", "KILL", running)
    ctr.each(lambda engine: engine.wait_status(running, "STOPPED"))


def test_a_terminal(ctr: Differential[Ctr]) -> None:
    def talk(engine: Ctr) -> tuple[int, bool]:
        code, shown = engine.in_terminal("run", "--rm", "-t", IMAGE, "talk", "sh", typed="tty; exit 4\n")
        return code, "/dev/" in shown

    assert ctr.each(talk) == (4, True)


def test_checkpoints(ctr: Differential[Ctr]) -> None:
    """ctr tasks checkpoint, and a checkpoint with the task's memory restored under another name."""
    if subprocess.run(["criu", "check"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel does not go with the installed CRIU: `criu check` fails")

    def move(engine: Ctr) -> list[object]:
        count = "i=0; while :; do i=$((i+1)); echo $i > /tmp/m; mv /tmp/m /tmp/n; sleep 0.1; done"
        engine.check("run", "-d", "--null-io", IMAGE, "counter", "sh", "-c", count)
        time.sleep(0.5)
        saved = f"localhost/saved-{engine.runtime}:1"
        engine.check("containers", "checkpoint", "--task", "--rw", "--image", "counter", saved)
        seen: list[object] = [engine.call("tasks", "exec", "--exec-id", "e", "counter", "cat", "/tmp/n").code]
        engine.check("tasks", "checkpoint", "--exit", "--image-path", f"{engine.directory}/images", "counter")
        engine.wait_status("counter", "STOPPED")
        for name in ("counter", "again"):
            engine.call("tasks", "delete", "--force", name)
            engine.call("containers", "delete", name)
            if name == "counter":
                engine.check("containers", "restore", "--live", "--rw", "again", saved)
                read = ("tasks", "exec", "--exec-id", "e", "again", "cat", "/tmp/n")
                before = int(engine.check(*read))
                time.sleep(0.5)
                seen += [before > 0, int(engine.check(*read)) > before]
        return seen

    assert ctr.each(move) == [0, True, True]


def test_containers_survive_a_restart_of_containerd() -> None:
    with Sandbox() as sandbox:
        images.write_archive(sandbox.seen("box.tar"))
        engines = [Ctr(sandbox, name) for name in RUNTIMES]
        with start_daemon(sandbox):
            for engine in engines:
                engine.check("images", "import", f"{sandbox.directory}/box.tar")
                engine.check("run", "-d", IMAGE, "box", "sh", "-c", TRAP)
        with start_daemon(sandbox):
            for engine in engines:
                engine.wait_status("box", "RUNNING")
                assert engine.check("tasks", "exec", "--exec-id", "e", "box", "echo", "in") == "in\n"
                engine.check("tasks", "kill", "-s", "TERM", "box")
                engine.wait_status("box", "STOPPED")
                engine.call("tasks", "delete", "box")
                engine.check("containers", "delete", "box")
