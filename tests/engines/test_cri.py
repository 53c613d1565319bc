"""containerd's CRI plugin with pyruntime as a handler, as a node of Kubernetes has it, beside a handler for runc.

One daemon and one network of pods serve the whole module.
"""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.engines import images
from tests.engines.cri import CNI_PROGRAMS, Cri, CriError, write_config
from tests.engines.differential import RUNTIMES, Differential, essence, need
from tests.engines.sandbox import Sandbox
from tests.engines.streams import Ended

pytestmark = pytest.mark.privileged
TRAP = ("sh", "-c", "trap 'exit 3' TERM; echo up; echo bad >&2; while :; do sleep 0.1; done")
MANY = 20
V1 = os.path.isdir("/sys/fs/cgroup/memory")
LIMITS = (
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/cpu/cpu.shares")
    if V1
    else ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.weight")
)


def start_daemon(sandbox: Sandbox) -> Any:
    config = write_config(sandbox, RUNTIMES)
    client = ("ctr", "--address", f"{sandbox.directory}/containerd.sock")
    return sandbox.daemon("containerd", "containerd", "--config", config, ready=(*client, "version"))


def import_images(sandbox: Sandbox) -> None:
    images.write_archive(sandbox.seen("box.tar"))
    images.write_archive(sandbox.seen("pause.tar"), images.PAUSE, ("sleep", "1000000"))
    client = ("ctr", "--address", f"{sandbox.directory}/containerd.sock", "--namespace", "k8s.io")
    for name in ("box", "pause"):
        sandbox.check(*client, "images", "import", f"{sandbox.directory}/{name}.tar")


@pytest.fixture(scope="module")
def node() -> Iterator[Sandbox]:
    need("containerd", "ctr", "runc")
    if not Path(CNI_PROGRAMS, "bridge").exists():
        pytest.skip("containernetworking-plugins are not installed: scripts/host-packages test")
    with Sandbox() as sandbox:
        sandbox.overlay("/var/lib")  # CNI notes there what it has done
        with start_daemon(sandbox):
            import_images(sandbox)
            yield sandbox


@pytest.fixture
def cri(node: Sandbox) -> Iterator[Differential[Cri]]:
    engines = {name: Cri(node, name) for name in RUNTIMES}
    try:
        yield Differential(engines)
    finally:
        for engine in engines.values():
            engine.remove_pods()
            engine.close()


def test_the_node_is_ready(cri: Differential[Cri]) -> None:
    conditions = cri.engines["pyruntime"].ask("Status")["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }


def test_the_life_of_a_pod(cri: Differential[Cri]) -> None:
    """runp, create, start, exec, logs, stats, update, stop, rm, stopp, rmp."""

    def live(engine: Cri) -> list[object]:
        pod = engine.run_pod("pod")
        container = engine.create(pod, "box", *TRAP)
        seen: list[object] = [engine.status(container)["state"]]
        engine.start(container)
        seen.append(engine.status(container)["state"])
        seen.append(engine.execute(container, "sh", "-c", "hostname; echo e >&2; exit 5"))
        seen.append(sorted(engine.log("box").splitlines()))
        stats = engine.ask("ContainerStats", "ContainerId", container_id=container)["stats"]
        seen.append(sorted(stats["memory"]))
        engine.update(container, memory_limit_in_bytes=60 << 20, cpu_shares=512)
        seen.append(engine.execute(container, "cat", *LIMITS).out)
        engine.stop(container)
        seen.append(engine.wait_exit(container))
        engine.remove(container)
        engine.remove_pod(pod)
        seen.append([pod for pod in engine.ask("ListPodSandbox")["items"] if engine.owns(pod)])
        return seen

    assert cri.each(live) == [
        "CONTAINER_CREATED",
        "CONTAINER_RUNNING",
        Ended(5, "pod\n", "e\n"),
        ["err bad", "up"],
        ["working_set_bytes"],
        "62914560\n512\n" if V1 else "62914560\n20\n",
        (3, "Error"),
        [],
    ]


def test_streams_into_a_container(cri: Differential[Cri]) -> None:
    """crictl exec -i, exec -it and attach -it."""

    def talk(engine: Cri) -> list[object]:
        pod = engine.run_pod("pod")
        container = engine.run(pod, "box", "sh", stdin=True, tty=True)
        command = ["sh", "-c", "read word; echo $word; echo e >&2; exit 4"]
        piped = engine.stream("Exec", container, cmd=command, stdin=True, stdout=True, stderr=True)
        piped.send("typed\n")
        seen: list[object] = [piped.read_to_end()]
        terminal = engine.stream("Exec", container, cmd=["sh"], stdin=True, stdout=True, tty=True)
        terminal.resize(111, 22)
        terminal.send("tty; sleep 0.2; stty size; exit 6\n")
        code, shown, _ = terminal.read_to_end()
        seen += [code, "/dev/pts/" in shown, "22 111" in shown]
        attached = engine.stream("Attach", container, stdin=True, stdout=True, tty=True)
        attached.send("echo $((40 + 2)); exit 7\n")
        seen += ["42" in attached.read_to_end().out, engine.wait_exit(container)]
        return seen

    assert cri.each(talk) == [Ended(4, "typed\n", "e\n"), 6, True, True, True, (7, "Error")]


def test_programs_that_cannot_start(cri: Differential[Cri]) -> None:
    def fail(engine: Cri) -> list[object]:
        pod = engine.run_pod("pod")
        seen: list[object] = []
        for number, command in enumerate(("/nope", "nope", "/etc/data", "/etc")):
            container = engine.create(pod, f"box{number}", command)
            try:
                engine.start(container)
            except CriError as error:
                seen.append(
                    (
                        essence(str(error)),
                        engine.status(container)["exit_code"],
                        engine.status(container)["reason"],
                    )
                )
        container = engine.run(pod, "box", *TRAP)
        for command in ("/nope", "/etc/data"):
            try:
                engine.execute(container, command)
            except CriError as error:
                seen.append(essence(str(error)))
        return seen

    seen = cri.each(fail)
    assert isinstance(seen, list)
    assert (len(seen), [code for _, code, _ in seen[:4]]) == (6, [128] * 4), seen


@pytest.mark.parametrize(
    ("security", "script", "expected"),
    [
        ({"run_as_user": {"value": 1000}}, "id -u; id -g", "1000\n1000\n"),
        ({"run_as_username": "guest", "supplemental_groups": [5, 7]}, "id -u; id -G", "1000\n1000 5 7\n"),
        ({"readonly_rootfs": True}, "touch /x 2>&1", "touch: /x: Read-only file system\n"),
        ({"capabilities": {"drop_capabilities": ["ALL"]}}, "grep CapEff /proc/self/status", f"CapEff:\t{0:016x}\n"),
        ({"capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]}},
         "grep CapEff /proc/self/status", f"CapEff:\t{1 << 10:016x}\n"),
        ({"no_new_privs": True}, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        ({}, "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"),
        ({"seccomp": {"profile_type": "Unconfined"}}, "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        ({"masked_paths": ["/proc/cpuinfo"]}, "wc -c < /proc/cpuinfo", "0\n"),
        ({"readonly_paths": ["/proc/sys"]}, "grep -c ' /proc/sys proc ro' /proc/mounts", "1\n"),
        ({"namespace_options": {"pid": "CONTAINER"}}, "echo $$", "1\n"),
    ],
)  # fmt: skip
def test_security_contexts(
    cri: Differential[Cri], security: dict[str, Any], script: str, expected: str
) -> None:
    def run(engine: Cri) -> str:
        pod = engine.run_pod("pod")
        namespaces = {"pid": "CONTAINER"}
        context = {"namespace_options": namespaces, "seccomp": {"profile_type": "RuntimeDefault"}, **security}
        box = engine.run(pod, "box", "sh", "-c", script, linux={"security_context": context})
        engine.wait_exit(box)
        return engine.log("box")

    assert cri.each(run) == expected


def test_mounts_devices_and_limits(cri: Differential[Cri]) -> None:
    def run(engine: Cri) -> list[object]:
        folder = str(Path(engine.sandbox.write(f"{engine.runtime}/shared/file", "from outside\n")).parent)
        engine.sandbox.check("mount", "--bind", folder, folder)
        engine.sandbox.check("mount", "--make-shared", folder)
        mount = {"host_path": folder, "container_path": "/data", "readonly": True}
        pod = engine.run_pod("pod")
        box = engine.run(
            pod, "box", *TRAP, working_dir="/home", envs=[{"key": "A", "value": "b"}],
            mounts=[{**mount, "propagation": "PROPAGATION_HOST_TO_CONTAINER"}],
            devices=[{"host_path": "/dev/null", "container_path": "/dev/mine", "permissions": "rwm"}],
            linux={"resources": {"memory_limit_in_bytes": 50 << 20, "cpu_shares": 512, "oom_score_adj": 900}},
        )  # fmt: skip
        script = (
            "pwd; echo $A; cat /data/file; touch /data/x 2>/dev/null; echo $?; echo x > /dev/mine; echo $?"
        )
        seen: list[object] = [
            engine.execute(box, "sh", "-c", script).out,
            engine.execute(box, "cat", *LIMITS).out,
        ]
        seen.append(engine.execute(box, "cat", "/proc/self/oom_score_adj").out)
        engine.sandbox.check("mkdir", f"{folder}/later")
        engine.sandbox.check("mount", "-t", "tmpfs", "none", f"{folder}/later")
        seen.append(engine.execute(box, "grep", "-c", " /data/later tmpfs", "/proc/mounts").out)
        engine.remove_pod(pod)
        engine.sandbox.check("umount", f"{folder}/later", folder)
        return seen

    limits = "52428800\n512\n" if V1 else "52428800\n20\n"
    assert cri.each(run) == ["/home\nb\nfrom outside\n1\n0\n", limits, "900\n", "1\n"]


def test_privileged_pods(cri: Differential[Cri]) -> None:
    def run(engine: Cri) -> tuple[tuple[int, str], str]:
        pod = engine.run_pod("pod", security_context={"privileged": True})
        script = "mount -t tmpfs none /data && echo mounted; grep Seccomp: /proc/self/status"
        box = engine.run(pod, "box", "sh", "-c", script, linux={"security_context": {"privileged": True}})
        return engine.wait_exit(box), engine.log("box")

    assert cri.each(run) == ((0, "Completed"), "mounted\nSeccomp:\t0\n")


def test_containers_of_a_pod_share_its_namespaces(cri: Differential[Cri]) -> None:
    def compare(engine: Cri) -> list[object]:
        pod = engine.run_pod("pod", sysctls={"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"})
        boxes = [engine.run(pod, name, *TRAP) for name in ("one", "two")]
        shared = []
        for kind in ("net", "ipc", "uts", "mnt", "pid"):
            links = [engine.execute(box, "readlink", f"/proc/self/ns/{kind}").out for box in boxes]
            shared.append(links[0] == links[1])
        seen: list[object] = [shared]
        seen.append(
            engine.execute(
                boxes[0], "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced"
            ).out
        )
        address = engine.ask("PodSandboxStatus", "PodId", pod_sandbox_id=pod)["status"]["network"]["ip"]
        seen.append(address in engine.execute(boxes[1], "cat", "/proc/net/fib_trie").out)
        return seen

    assert cri.each(compare) == [[True, True, True, False, True], "1\n1\n", True]


def test_pods_in_the_namespaces_of_the_node(cri: Differential[Cri]) -> None:
    def compare(engine: Cri) -> list[bool]:
        context = {"namespace_options": dict.fromkeys(("network", "pid", "ipc"), "NODE")}
        pod = engine.run_pod("pod", security_context=context)
        box = engine.run(pod, "box", *TRAP, linux={"security_context": context})
        links = [
            engine.execute(box, "readlink", f"/proc/self/ns/{kind}").out.strip()
            for kind in ("net", "pid", "ipc")
        ]
        engine.stop(box)
        node = engine.sandbox.first
        return [
            os.readlink(f"/proc/{node}/ns/{kind}") == link
            for kind, link in zip(("net", "pid", "ipc"), links, strict=True)
        ]

    assert cri.each(compare) == [True, True, True]


def test_out_of_memory_is_the_reason(cri: Differential[Cri]) -> None:
    def starve(engine: Cri) -> tuple[int, str]:
        pod = engine.run_pod("pod")
        hungry = "x=x; while :; do x=$x$x; done"
        limits = {"memory_limit_in_bytes": 20 << 20}
        return engine.wait_exit(engine.run(pod, "box", "sh", "-c", hungry, linux={"resources": limits}))

    assert cri.each(starve) == (137, "OOMKilled")


def test_many_pods_at_once(cri: Differential[Cri]) -> None:
    """Each with a container that answers from its own address; then all of them stop at once."""

    def crowd(engine: Cri) -> list[object]:
        def live(number: int) -> tuple[str, str]:
            name = f"pod{number}"
            pod = engine.run_pod(name)
            box = engine.run(pod, "box", *TRAP)
            return pod, engine.execute(box, "hostname").out

        with ThreadPoolExecutor(MANY) as pool:
            lives = list(pool.map(live, range(MANY)))
            status = pool.map(
                lambda pod: engine.ask("PodSandboxStatus", "PodId", pod_sandbox_id=pod[0])["status"], lives
            )
            addresses = {state["network"]["ip"] for state in status if state["state"] == "SANDBOX_READY"}
            list(pool.map(lambda pod: engine.remove_pod(pod[0]), lives))
        left = [pod for pod in engine.ask("ListPodSandbox")["items"] if engine.owns(pod)]
        return [[name for _, name in lives], len(addresses), left]

    assert cri.each(crowd) == [[f"pod{number}\n" for number in range(MANY)], MANY, []]


def test_pods_survive_a_restart_of_containerd() -> None:
    need("containerd", "ctr", "runc")
    with Sandbox() as sandbox:
        sandbox.overlay("/var/lib")
        with start_daemon(sandbox):
            import_images(sandbox)
            boxes = {}
            for name in RUNTIMES:
                with contextlib.closing(Cri(sandbox, name)) as engine:
                    boxes[name] = engine.run(engine.run_pod("pod"), "box", *TRAP)
        with start_daemon(sandbox):
            for name, box in boxes.items():
                with contextlib.closing(Cri(sandbox, name)) as engine:
                    assert engine.status(box)["state"] == "CONTAINER_RUNNING"
                    assert engine.execute(box, "echo", "in").out == "in\n"
                    engine.stop(box)
                    assert engine.wait_exit(box) == (3, "Error")
                    engine.remove_pods()
