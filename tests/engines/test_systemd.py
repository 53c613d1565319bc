"""Engines as Debian sets them up under systemd: containers are units, under cgroup v2 as a rule.

Everything runs on the host itself, because systemd knows processes by the host's numbers.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.engines import images
from tests.engines.cri import Cri, write_config
from tests.engines.differential import RUNTIMES, Differential, need, runtime_path
from tests.engines.podman import Podman
from tests.engines.sandbox import Host, Outcome
from tests.engines.test_docker import Docker, client

pytestmark = pytest.mark.privileged
IMAGE = images.NAME
TRAP = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"
COUNT = "echo up; i=0; while :; do i=$((i+1)); echo $i > /tmp/m; mv /tmp/m /tmp/n; sleep 0.1; done"
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/pids.max")
LIMITED = ("--memory=50m", "--cpus=0.5", "--pids-limit=33")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if not os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd is not the init")
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("cgroup v2 is not what this machine mounts")
    need("runc")
    with Host() as host:
        images.write_archive(host.seen("box.tar"))
        images.write_archive(host.seen("pause.tar"), images.PAUSE, ("sleep", "1000000"))
        yield host


def unit(host: Host, name: str) -> list[str]:
    """What systemd says of a unit: whether it is active, where it is, and its limits."""
    asked = ("ActiveState", "Slice", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")
    shown = host.check("systemctl", "show", *(f"--property={name}" for name in asked), name)
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return [values[name] for name in asked]


@pytest.fixture(scope="module")
def podman(host: Host) -> Differential[Podman]:
    need("podman", "conmon")
    runtimes = "".join(f'{name} = ["{runtime_path(name)}"]\n' for name in RUNTIMES)
    host.environment["CONTAINERS_CONF"] = host.write(
        "containers.conf",
        '[engine]\ncgroup_manager = "systemd"\nevents_logger = "file"\nlock_type = "file"\n'
        f'runtime_supports_json = ["crun", "runc", "pyruntime"]\n[engine.runtimes]\n{runtimes}',
    )

    engines = {name: Podman(host, name) for name in RUNTIMES}
    for engine in engines.values():
        engine.check("load", "--input", f"{host.directory}/box.tar")
    return Differential(engines)


def test_podman(host: Host, podman: Differential[Podman]) -> None:
    def live(engine: Podman) -> list[object]:
        run = ("run", "--net=none", "--cgroup-parent=machine.slice", *LIMITED)
        seen: list[object] = [engine.check(*run, "--rm", IMAGE, "cat", *LIMITS)]
        engine.check(*run, "-d", "--name", "box", IMAGE, "sh", "-c", TRAP)
        try:
            engine.wait_log("box", "up")
            name = f"libpod-{engine.inspect('{{.Id}}', 'box')}.scope"
            seen += [unit(host, name), engine.call("exec", "box", "sh", "-c", "echo in; exit 5")]
            engine.check("update", "--memory=60m", "box")
            seen += [engine.check("exec", "box", "cat", *LIMITS), unit(host, name)[2]]
            engine.check("stop", "box")
            seen += [engine.inspect("{{.State.ExitCode}}", "box"), unit(host, name)[0]]
        finally:
            engine.check("rm", "-f", "-t", "0", "box")
        return seen

    assert podman.each(live) == [
        "52428800\n50000 100000\n33\n",
        ["active", "machine.slice", "52428800", "33", "500ms"],
        Outcome(5, "in\n", ""),
        "62914560\n50000 100000\n33\n",
        "62914560",
        "3",
        "inactive",
    ]


def test_podman_checkpoints(podman: Differential[Podman]) -> None:
    def move(engine: Podman) -> list[object]:
        archive = f"{engine.directory}/saved.tar.gz"
        parent = "--cgroup-parent=machine.slice"
        engine.check("run", "-d", "--net=none", parent, "--name", "counter", IMAGE, "sh", "-c", COUNT)
        try:
            engine.wait_log("counter", "up")
            engine.check("container", "checkpoint", "counter")
            seen: list[object] = [engine.inspect("{{.State.Status}} {{.State.Checkpointed}}", "counter")]
            engine.check("container", "restore", "counter")
            engine.check("container", "checkpoint", "--export", archive, "counter")
            engine.check("rm", "-f", "-t", "0", "counter")
            engine.check("container", "restore", "--import", archive)
            before = int(engine.check("exec", "counter", "cat", "/tmp/n"))
            return [*seen, before > 0, int(engine.check("exec", "counter", "cat", "/tmp/n")) > before]
        finally:
            engine.check("rm", "-f", "-t", "0", "counter")

    assert podman.each(move) == ["exited true", True, True]


@pytest.fixture
def docker(host: Host) -> Iterator[Differential[Docker]]:
    """One daemon for both runtimes; their containers are named after them."""
    need("dockerd", "containerd")
    top = host.directory
    space = top.name.encode().hex()  # names of directories may end as those of namespaces may not
    daemon = (
        "dockerd", "--config-file", host.write("daemon.json", "{}"), "--host", f"unix://{top}/docker.sock",
        "--data-root", f"{top}/data", "--exec-root", f"{top}/exec", "--pidfile", f"{top}/pid", "--bridge=none",
        "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2", "--experimental",
        "--containerd-namespace", space, "--containerd-plugins-namespace", f"{space}-plugins",
        "--exec-opt", "native.cgroupdriver=systemd", f"--add-runtime=pyruntime={runtime_path('pyruntime')}",
    )  # fmt: skip
    with host.daemon("dockerd", *daemon, ready=("docker", *client(host), "info")):
        engines = {name: Docker(host, name) for name in RUNTIMES}
        engines["runc"].check("load", "--input", f"{top}/box.tar")
        yield Differential(engines)


def test_docker(host: Host, docker: Differential[Docker]) -> None:
    def live(engine: Docker) -> list[object]:
        box = f"box-{engine.runtime}"
        run = ("run", *LIMITED, "--memory-swap=50m")
        seen: list[object] = [engine.check(*run, "--rm", IMAGE, "cat", *LIMITS)]
        engine.check(*run, "-d", "--name", box, IMAGE, "sh", "-c", TRAP)
        try:
            engine.wait_log(box, "up")
            name = f"docker-{engine.inspect('{{.Id}}', box)}.scope"
            seen += [unit(host, name), engine.call("exec", box, "sh", "-c", "echo in; exit 5")]
            engine.check("update", "--memory=60m", "--memory-swap=60m", "--pids-limit=44", box)
            seen += [engine.check("exec", box, "cat", *LIMITS), unit(host, name)[2:4]]
            engine.check("stop", box)
            seen += [engine.inspect("{{.State.ExitCode}}", box), unit(host, name)[0]]
        finally:
            engine.check("rm", "-f", box)
        return seen

    def save(engine: Docker) -> str:
        """Checkpoints; docker 20.10 itself starts none again, whatever the runtime."""
        box = f"counter-{engine.runtime}"
        engine.check("run", "-d", "--name", box, IMAGE, "sh", "-c", COUNT)
        try:
            engine.wait_log(box, "up")
            engine.check("checkpoint", "create", box, "saved")
            return engine.inspect("{{.State.Status}} {{.State.ExitCode}}", box)
        finally:
            engine.check("rm", "-f", box)

    assert docker.each(save) == "exited 137"
    assert docker.each(live) == [
        "52428800\n50000 100000\n33\n",
        ["active", "system.slice", "52428800", "33", "500ms"],
        Outcome(5, "in\n", ""),
        "62914560\n50000 100000\n44\n",
        ["62914560", "44"],
        "3",
        "inactive",
    ]


def test_pods(host: Host) -> None:
    """containerd's CRI plugin with SystemdCgroup, as kubeadm sets nodes up."""
    need("containerd", "ctr")
    address = ("ctr", "--address", f"{host.directory}/containerd.sock")
    config = write_config(host, RUNTIMES, systemd=True)

    def live(engine: Cri) -> list[object]:
        context = {"namespace_options": {"network": "NODE"}}
        pod = engine.run_pod("pod", security_context=context, cgroup_parent="kubepods-test.slice")
        resources = {"memory_limit_in_bytes": 50 << 20, "cpu_quota": 50000, "cpu_period": 100000}
        linux = {"resources": resources, "security_context": context}
        box = engine.run(pod, "box", "sh", "-c", TRAP, linux=linux)
        name = f"cri-containerd-{box}.scope"
        seen: list[object] = [unit(host, name)[:3], engine.execute(box, "cat", *LIMITS[:2]).out]
        engine.update(box, memory_limit_in_bytes=60 << 20)
        seen += [engine.execute(box, "cat", LIMITS[0]).out, unit(host, name)[2]]
        engine.stop(box)
        seen += [engine.wait_exit(box), unit(host, name)[0]]
        return seen

    with host.daemon("containerd", "containerd", "--config", config, ready=(*address, "version")):
        for name in ("box", "pause"):
            host.check(*address, "--namespace", "k8s.io", "images", "import", f"{host.directory}/{name}.tar")
        with contextlib.ExitStack() as stack:
            engines = {name: stack.enter_context(contextlib.closing(Cri(host, name))) for name in RUNTIMES}
            try:
                seen = Differential(engines).each(live)
            finally:
                for engine in engines.values():
                    engine.remove_pods()
    assert seen == [
        ["active", "kubepods-test.slice", "52428800"],
        "52428800\n50000 100000\n",
        "62914560\n",
        "62914560",
        (3, "Error"),
        "inactive",
    ]
