"""podman with storage of its own for each runtime, as root or as an ordinary user."""

import os
from pathlib import Path

from tests.engines import images
from tests.engines.differential import RUNTIMES, runtime_path
from tests.engines.engine import Engine
from tests.engines.sandbox import Place, Sandbox

USER = 64242  # an ordinary user of the sandbox alone


class Podman(Engine):
    """podman as root."""

    def __init__(self, sandbox: Place, runtime: str) -> None:
        super().__init__(sandbox, runtime)
        self.command = ["podman", *self.options()]

    def options(self) -> list[str]:
        top = self.directory
        places = (f"--root={top}/root", f"--runroot={top}/run", f"--tmpdir={top}/tmp")
        return [*places, "--storage-driver=overlay", "--runtime", self.runtime]

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        if arguments[0] in ("run", "create"):
            return arguments[0], f"--cgroup-parent={self.sandbox.cgroup}", *arguments[1:]
        return arguments


class RootlessPodman(Podman):
    """podman as the ordinary user that `add_user` made, with its subordinate ids."""

    def __init__(self, sandbox: Place, runtime: str) -> None:
        super().__init__(sandbox, runtime)
        home = f"{self.directory}/home"
        sandbox.check("mkdir", "-p", home, f"{home}/run")
        sandbox.check("chown", "-R", f"{USER}:{USER}", self.directory)
        sandbox.check("chmod", "700", f"{home}/run")
        identity = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
        self.command = [*identity, "env", f"HOME={home}", f"XDG_RUNTIME_DIR={home}/run", *self.command]

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        return arguments


def prepare(sandbox: Sandbox) -> None:
    """Write podman's configuration for both runtimes, users' ids, and the image as box.tar."""
    images.write_archive(sandbox.seen("box.tar"))
    sandbox.overlay("/etc")
    # A runtime that compiles a filter starts again in the interpreter that it was built with.
    for path in {
        runtime_path("pyruntime"),
        os.path.realpath(f"{Path(runtime_path('pyruntime')).parent}/python"),
    }:
        if os.path.exists(path):
            sandbox.open_to_others(path)
    for path, line in (
        ("passwd", f"boxer:x:{USER}:{USER}::{sandbox.directory}:/bin/sh"),
        ("group", f"boxer:x:{USER}:"),
        *((path, f"{name}:{first}:65536") for path in ("subuid", "subgid")
          for name, first in (("boxer", 400000), ("containers", 500000))),
    ):  # fmt: skip
        sandbox.check("sh", "-c", f"echo '{line}' >> /etc/{path}")
    runtimes = "".join(f'{name} = ["{runtime_path(name)}"]\n' for name in RUNTIMES)
    # The limits are below those that a machine may have taken from its root.
    sandbox.environment["CONTAINERS_CONF"] = sandbox.write(
        "containers.conf",
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
        f'runtime_supports_json = ["crun", "runc", "pyruntime"]\n[engine.runtimes]\n{runtimes}',
    )
