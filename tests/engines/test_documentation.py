"""What README.md and docs/engines.md tell users to write and to type, done word for word.

In a sandbox the files lie where users put them, pyruntime is /usr/local/bin/pyruntime, and `alpine` is an image made on
the spot.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TREE
from tests.engines import images
from tests.engines.cri import Cri
from tests.engines.differential import need, runtime_path
from tests.engines.sandbox import Sandbox

pytestmark = pytest.mark.privileged
DOCUMENTS = ("README.md", "docs/engines.md")
INSTALLED = "/usr/local/bin/pyruntime"
ALPINE = "docker.io/library/alpine:latest"
PAUSE = "registry.k8s.io/pause:3.6"  # what containerd 1.6 asks for
# A machine may have taken from its root the limits that podman wants, and a privilege that the CRI plugin wants.
PODMAN_HERE = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
events_logger = "file"
"""
CRI_HERE = '[plugins."io.containerd.grpc.v1.cri"]\n  restrict_oom_score_adj = true\n'


def blocks(document: str) -> list[tuple[str, str]]:
    """The fenced blocks of a document, with their languages; in the README, those about engines."""
    text = (TREE / document).read_text()
    if document == "README.md":
        text = re.split(r"^## ", text.partition("## With an engine\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def files(document: str) -> dict[str, str]:
    """The configuration files of a document by their paths."""
    found = {}
    for language, text in blocks(document):
        if language == "toml":
            found[text.splitlines()[0].removeprefix("# ")] = text
        elif language == "json":
            found["/etc/docker/daemon.json"] = text
    return found


def lines(document: str, program: str) -> list[str]:
    """The lines with a program that a document tells to type."""
    typed = [line for language, text in blocks(document) if language == "sh" for line in text.splitlines()]
    found = [line for line in typed if line.startswith(f"{program} ")]
    assert found, f"{document} does not say how to use {program}"
    return found


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def machine(document: str) -> Iterator[Sandbox]:
    """A sandbox set up as the document says, with the image `alpine` in alpine.tar."""
    with Sandbox() as sandbox:
        for directory in ("/etc", "/usr/local", "/var/lib"):
            sandbox.overlay(directory)
        for directory in ("containerd", "containers", "docker"):
            sandbox.check("mkdir", "-p", f"/var/lib/{directory}")
            sandbox.check("mount", "-t", "tmpfs", "none", f"/var/lib/{directory}")
        sandbox.check("mkdir", "-p", str(Path(INSTALLED).parent))
        sandbox.check("ln", "-sf", runtime_path("pyruntime"), INSTALLED)
        for path, text in files(document).items():
            sandbox.write(path, text)
        sandbox.write("/etc/containers/containers.conf.d/here.conf", PODMAN_HERE)
        images.write_archive(sandbox.seen("alpine.tar"), ALPINE)
        yield sandbox


def type_all(machine: Sandbox, document: str, program: str) -> None:
    for line in lines(document, program):
        outcome = machine.call("sh", "-c", line)
        assert (outcome.code, outcome.out) == (0, "hello\n"), f"{line}: {outcome}"


def test_podman(machine: Sandbox, document: str) -> None:
    need("podman", "conmon")
    machine.check("podman", "load", "--input", f"{machine.directory}/alpine.tar")
    type_all(machine, document, "podman")
    if 'runtime = "pyruntime"' in files(document)["/etc/containers/containers.conf"]:
        used = machine.check(
            "podman", "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}"
        )
        assert used == f"pyruntime {INSTALLED}\n"


def test_docker(machine: Sandbox, document: str) -> None:
    need("dockerd", "docker", "iptables")
    with machine.daemon("dockerd", "dockerd", ready=("docker", "info")):
        machine.check("docker", "load", "--input", f"{machine.directory}/alpine.tar")
        type_all(machine, document, "docker")


def test_containerd_and_its_cri_plugin(machine: Sandbox, document: str) -> None:
    need("containerd", "ctr")
    config = files(document)["/etc/containerd/config.toml"]
    machine.write("/etc/containerd/config.toml", config + CRI_HERE)
    images.write_archive(machine.seen("pause.tar"), PAUSE, ("sleep", "1000000"))
    images.write_archive(machine.seen("box.tar"))
    with machine.daemon("containerd", "containerd", ready=("ctr", "version")):
        machine.check("ctr", "images", "import", f"{machine.directory}/alpine.tar")
        type_all(machine, document, "ctr")
        for name in ("pause", "box"):
            machine.check(
                "ctr", "--namespace", "k8s.io", "images", "import", f"{machine.directory}/{name}.tar"
            )
        with contextlib.closing(Cri(machine, "pyruntime", "/run/containerd/containerd.sock")) as cri:
            pod = cri.run_pod("pod", security_context={"namespace_options": {"network": "NODE"}})
            box = cri.run(pod, "box", "echo", "hello")
            assert cri.wait_exit(box) == (0, "Completed")
            assert cri.log("box") == "hello\n"
            cri.remove_pods()
