"""How long images take on their way from and to a registry on loopback: oci-image beside skopeo."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "{address}"}}
"""


class Transfers:
    """One image, and a registry that has it under `/app:1`."""

    def __init__(self, call: Callable[..., None], program: list[str], scratch: Path, address: str) -> None:
        self._call, self._program = call, program
        self._scratch, self._address = scratch, address

    def programs(self, image: str) -> list[tuple[str, Callable[[], None], Callable[[], None]]]:
        """Name, what is timed and what cleans up after it; skopeo is what the other one is compared with."""
        layout, _, tag = image.rpartition(":")
        there, here = f"docker://{self._address}/app:1", self._scratch / "pulled"
        skopeo = ("skopeo", "--insecure-policy", "copy", "-q")
        oci_image = (*self._program, "pull", "-q", "--store", here)
        self._call(*skopeo, "--dest-tls-verify=false", f"oci:{layout}:{tag}", there)
        pushed, counter = f"docker://{self._address}", iter(range(1000000))

        def push_with_skopeo() -> None:
            name = f"{pushed}/new{next(counter)}:1"
            self._call(*skopeo, "--dest-tls-verify=false", f"oci:{layout}:{tag}", name)

        def push_with_oci_image() -> None:
            name = f"{pushed}/new{next(counter)}:1"
            self._call(*self._program, "copy", "-q", f"oci:{layout}:{tag}", name)

        return [
            (
                "skopeo copy from registry",
                lambda: self._call(*skopeo, "--src-tls-verify=false", there, f"oci:{here}:x"),
                lambda: _remove(here),
            ),
            ("oci-image pull", lambda: self._call(*oci_image, there), lambda: _remove(here)),
            ("skopeo copy to registry", push_with_skopeo, lambda: None),
            ("oci-image copy to registry", push_with_oci_image, lambda: None),
        ]


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry on loopback, on a port that the kernel picks; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folder.mkdir()
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, address=address))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1).close()
                break
            time.sleep(0.05)
        yield address
    finally:
        server.kill()
        server.wait()


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)  # noqa: TID251 - made by this program, run by nobody
