"""Make an OCI image layout with one small image, tagged `latest`, from this machine's static busybox.

    busybox_image.py DIRECTORY

The same busybox gives the same bytes: times are 0, and names are in order.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
HELLO = r"""#!/bin/sh
echo "Hello from a container."
echo "  I am process $$ of user $(id -u), on host '$(hostname)'."
echo "  My root holds: $(ls / | tr '\n' ' ')"
echo "  Processes that I see: $(ls /proc | grep -c '^[0-9]')"
"""
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "sys", "tmp")


def main() -> int:
    """Write the layout; returns the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: busybox_image.py DIRECTORY\n")
        return 2
    busybox = shutil.which("busybox", path=f"{os.environ.get('PATH', '')}:/bin:/usr/bin")
    if busybox is None:
        sys.stderr.write("no busybox found; on Debian and Ubuntu: apt-get install busybox-static\n")
        return 1
    directory = sys.argv[1]
    layer = make_layer(busybox)
    digest = write_image(directory, layer)
    print(f"    {directory}: image {digest[:19]}..., one layer of {len(layer):,} bytes")
    return 0


def make_layer(busybox: str) -> bytes:
    """The layer's tar: busybox, a link for each of its commands, and the least that a root file system has."""
    with open(busybox, "rb") as file:
        program = file.read()
    commands = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in DIRECTORIES:
            add(archive, name, kind=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        add(archive, "bin/busybox", content=program, mode=0o755)
        add(archive, "bin/hello", content=HELLO.encode(), mode=0o755)
        for name in sorted(set(commands) - {"busybox"}):
            add(archive, f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox")
        for name, text in FILES.items():
            add(archive, name, content=text.encode())
    return stream.getvalue()


def add(
    archive: tarfile.TarFile,
    name: str,
    *,
    kind: bytes = tarfile.REGTYPE,
    content: bytes = b"",
    mode: int = 0o644,
    link: str = "",
) -> None:
    """Add one entry, owned by root."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), link
    archive.addfile(entry, io.BytesIO(content))


def write_image(directory: str, layer: bytes) -> str:
    """Write layer, config, manifest and index; returns the manifest's digest."""
    compressed = gzip.compress(layer, mtime=0)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/hello"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "busybox_image.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": write_blob(directory, as_json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [write_blob(directory, compressed, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    descriptor = write_blob(directory, as_json(manifest), "application/vnd.oci.image.manifest.v1+json")
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    }
    write(f"{directory}/oci-layout", as_json({"imageLayoutVersion": "1.0.0"}))
    write(f"{directory}/index.json", as_json(index))
    return str(descriptor["digest"])


def write_blob(directory: str, content: bytes, media_type: str) -> dict[str, object]:
    """Write a blob and return its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    write(f"{directory}/blobs/sha256/{digest}", content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main())
