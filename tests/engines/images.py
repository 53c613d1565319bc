"""One small image for every engine, made on the spot from a static busybox."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

NAME = "localhost/box:1"
PAUSE = "localhost/pause:1"  # what holds a pod's namespaces open
APPLETS = (
    "sh ls cat true false sleep echo id env mount grep pwd stat touch mkdir tty test kill readlink hostname head"
    " stty top ps rm cp trap wc seq tr cut nproc uname sort httpd wget"
)
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home:/bin/sh\n",
    "etc/group": "root:x:0:\nguest:x:1000:\n",
}


def write_archive(path: Path, name: str = NAME, command: tuple[str, ...] = ("sh",)) -> None:
    """Write the image as a docker-archive, which podman, docker and ctr all load."""
    layer = busybox_layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin:/sbin:/usr/bin"], "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox"}],
        }
    ).encode()
    member_of_config = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": member_of_config, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for member, data in (
            (member_of_config, config),
            (f"{digest}/layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            add_file(archive, member, data, 0o644)


def busybox_layer() -> bytes:
    """The only layer: busybox, links to it, and the users root and guest (1000)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for directory in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home", "data"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            layer.addfile(entry)
        busybox = shutil.which("busybox") or "/bin/busybox"
        add_file(layer, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        add_file(layer, "etc/data", b"data\n", 0o644)
        for name, text in FILES.items():
            add_file(layer, name, text.encode(), 0o644)
        for applet in APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(entry)
    return buffer.getvalue()


def add_file(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))
