"""podman as an ordinary user, whose ids come from newuidmap: the same commands with runc and with pyruntime."""

from collections.abc import Iterator

import pytest

from tests.engines import images
from tests.engines.differential import RUNTIMES, Differential, need
from tests.engines.podman import USER, RootlessPodman, prepare
from tests.engines.sandbox import Outcome, Sandbox

pytestmark = pytest.mark.privileged
IMAGE = images.NAME
TRAP = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def podman() -> Iterator[Differential[RootlessPodman]]:
    need("podman", "conmon", "runc", "newuidmap")
    with Sandbox() as sandbox:
        prepare(sandbox)
        engines = {name: RootlessPodman(sandbox, name) for name in RUNTIMES}
        for engine in engines.values():
            engine.check("load", "--input", f"{sandbox.directory}/box.tar")
        yield Differential(engines)


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        ((), "id -u; while read line; do echo $line; done < /proc/self/uid_map", f"0\n0 {USER} 1\n1 400000 65536\n"),
        (("--userns=keep-id",), "id -u; touch /tmp/x; stat -c %u /tmp/x", f"{USER}\n{USER}\n"),
        (("--userns=nomap",), "while read a b c; do echo $a $c; done < /proc/self/uid_map", None),
        (("--uidmap=0:1:100", "--gidmap=0:1:100"), "id -u; id -g", "0\n0\n"),
        (("--user=guest", "--workdir=/tmp"), "id -u; pwd", "1000\n/tmp\n"),
        (("--read-only", "--tmpfs=/data"), "touch /x 2>/dev/null; echo $?; touch /data/x; echo $?", "1\n0\n"),
        (("--cap-drop=ALL",), "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"),
        (("--privileged",), "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"),
        (("--net=host", "--uts=host"), "grep -c lo: /proc/net/dev", "1\n"),
        (("--pid=host",), "test $$ -gt 1; echo $?", "0\n"),
        (("--init",), "cut -c1-9 /proc/1/cmdline", None),
        (("--device=/dev/null:/dev/mine",), "echo x > /dev/mine; echo $?", "0\n"),
        (("--sysctl=kernel.msgmax=9000",), "cat /proc/sys/kernel/msgmax", "9000\n"),
    ],
)  # fmt: skip
def test_run_options(
    podman: Differential[RootlessPodman], options: tuple[str, ...], script: str, expected: str | None
) -> None:
    network = () if "--net=host" in options else ("--net=none",)
    outcome = podman.same("run", "--rm", *network, *options, IMAGE, "sh", "-c", script)
    assert outcome.code == 0
    assert expected is None or outcome.out == expected


@pytest.mark.parametrize(
    ("program", "code"), [("/nope", 127), ("nope", 127), ("/etc", 126), ("/etc/data", 126)]
)
def test_programs_that_cannot_start(podman: Differential[RootlessPodman], program: str, code: int) -> None:
    assert podman.same("run", "--rm", "--net=none", IMAGE, program).code == code


def test_the_life_of_a_container(podman: Differential[RootlessPodman]) -> None:
    def live(engine: RootlessPodman) -> list[object]:
        folder = f"{engine.directory}/home/volume"
        engine.sandbox.check(*engine.command[: engine.command.index("podman")], "mkdir", folder)
        engine.check(
            "run", "-d", "--name", "box", "--net=none", "-v", f"{folder}:/data", IMAGE, "sh", "-c", TRAP
        )
        engine.wait_log("box", "up")
        seen: list[object] = [
            engine.call("exec", "box", "sh", "-c", "id -u; echo hi > /data/file; exit 5"),
            engine.call("exec", "-i", "-u", "guest", "box", "sh", "-c", "id -u; cat", stdin="typed\n"),
            engine.call("exec", "box", "/nope").code,
            "sh -c trap" in engine.check("top", "box"),
            engine.in_terminal("exec", "-it", "box", "sh", typed="tty; exit 6\n")[0],
            engine.call("pause", "box").code,
            engine.call("unpause", "box").code,
        ]
        engine.check("stop", "box")
        seen.append(engine.inspect("{{.State.Status}} {{.State.ExitCode}}", "box"))
        engine.check("start", "box")
        engine.check("kill", "box")
        seen += [engine.check("wait", "box"), engine.sandbox.check("stat", "-c", "%u %s", f"{folder}/file")]
        engine.check("rm", "-f", "-t", "0", "box")
        return seen

    seen = podman.each(live)
    assert isinstance(seen, list)
    assert seen[:5] == [Outcome(5, "0\n", ""), Outcome(0, "1000\ntyped\n", ""), 127, True, 6]
    assert seen[7:] == ["exited 3", "137\n", f"{USER} 3\n"]


def test_pods_and_builds(podman: Differential[RootlessPodman]) -> None:
    def scenario(engine: RootlessPodman) -> list[object]:
        engine.check(
            "pod",
            "create",
            "--name",
            "p",
            "--infra-image",
            IMAGE,
            "--infra-command",
            "sleep 100",
            "--net=none",
        )
        try:
            namespaces = {
                engine.check("run", "--rm", "--pod", "p", IMAGE, "readlink", "/proc/self/ns/net")
                for _ in "ab"
            }
        finally:
            engine.check("pod", "rm", "-f", "-t", "0", "p")
        engine.sandbox.write(
            f"{engine.runtime}/build/Dockerfile",
            f"FROM {IMAGE}\nRUN echo built > /made && id -u >> /made\nCMD cat /made\n",
        )
        engine.check("build", "--network=none", "-t", "localhost/built:1", f"{engine.directory}/build")
        return [len(namespaces), engine.check("run", "--rm", "--net=none", "localhost/built:1")]

    assert podman.each(scenario) == [1, "built\n0\n"]
