"""Images that buildah made, unpacked by umoci, containerd, buildah and oci-image: one tree."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.snapshots.cache import SnapshotCache
from tests.engines import images
from tests.engines.differential import need
from tests.engines.sandbox import Sandbox
from tests.engines.test_containerd import client, start_daemon
from tests.privileged.compare_trees import differences

pytestmark = pytest.mark.privileged

# Layers upon busybox, as a user's scripts would make them: $1 is the mounted root.
STEPS = (
    """
cd "$1"; mkdir -p srv/many opt/old opt/linked var/empty
for n in $(seq 300); do echo "$n" > "srv/many/f$n"; done
ln srv/many/f1 srv/many/hard; ln -s /srv/many opt/link; ln -s nowhere opt/dangling
echo a > opt/old/a; echo b > opt/linked/b; chmod 1777 var/empty; chmod 4755 bin/busybox
setfattr -n user.colour -v blue etc/data; setcap cap_net_raw=ep srv/many/f2
mkfifo var/fifo; mknod var/zero c 1 5; chown 1000:2000 srv/many/f3; chown -h 5:6 opt/link
touch -d @1000000000 srv/many/f4; touch "srv/many/$(printf 'gr\\303\\274n \\377')"
""",
    """
cd "$1"; rm srv/many/f1?; rm -r opt/old; mkdir opt/old; echo new > opt/old/new
rm srv/many/f5; mkdir srv/many/f5; echo inner > srv/many/f5/inner
rm opt/dangling; echo file > opt/dangling; rm -r opt/linked; ln -s old opt/linked
echo changed >> srv/many/f6; chmod 600 srv/many/f7; ln srv/many/f8 srv/many/later; rm var/fifo
chmod 750 srv; echo more > etc/more
""",
    """
cd "$1"; rm -r srv/many; mkdir srv/many; echo last > srv/many/last; mv etc/more etc/moved
""",
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    need("buildah", "containerd", "ctr", "umoci", "setcap", "setfattr", "skopeo")
    with Sandbox() as made, start_daemon(made):
        yield made


@pytest.fixture(scope="module")
def layout(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the image, made by buildah in the sandbox."""
    top = sandbox.directory
    path = tmp_path_factory.mktemp("built")
    images.write_archive(sandbox.seen("box.tar"))
    buildah = f"buildah --root {top}/storage --runroot {top}/run --storage-driver overlay"
    script = [f"set -e; umask 022; c=$({buildah} from --pull-never docker-archive:{top}/box.tar)"]
    for number, step in enumerate(STEPS):
        sandbox.write(f"step{number}", step)
        script += [
            f"m=$({buildah} mount $c); sh -e {top}/step{number} $m; {buildah} umount $c >&2",
            f"{buildah} commit -q --rm $c step{number}; c=$({buildah} from --pull-never step{number})",
        ]
    script += [
        f"{buildah} push -q step{len(STEPS) - 1} oci:{path}/oci:latest",
        f"{buildah} push -q step{len(STEPS) - 1} oci-archive:{top}/image.tar:localhost/built:1",
        f"mkdir {top}/buildah; mount --bind $({buildah} mount $c) {top}/buildah",
    ]
    sandbox.check("sh", "-c", "\n".join(script))
    return path / "oci"


def compare(ours: Path, theirs: Path) -> list[tuple[str, str, object, object]]:
    """What differs, but for the root's own attributes, which no layer of this image lists."""
    return [found for found in differences(str(ours), str(theirs)) if found[0] != "."]


@pytest.fixture(scope="module")
def ours(layout: Path) -> Path:
    assert main(["unpack", "-q", "--image", f"{layout}:latest", str(layout.parent / "ours")]) == 0
    return layout.parent / "ours/rootfs"


def test_umoci_makes_the_same_tree(layout: Path, ours: Path) -> None:
    theirs = layout.parent / "umoci"
    command = ["umoci", "unpack", "--image", f"{layout}:latest", str(theirs)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert compare(ours, theirs / "rootfs") == []


def test_buildah_mounts_the_same_tree(sandbox: Sandbox, ours: Path) -> None:
    assert compare(ours, sandbox.seen("buildah")) == []


def test_containerd_mounts_the_same_tree(sandbox: Sandbox, layout: Path, ours: Path) -> None:
    top = sandbox.directory
    sandbox.check(*client(sandbox), "images", "import", f"{top}/image.tar")
    name = sandbox.check(*client(sandbox), "images", "ls", "-q").split()[0]
    sandbox.check("mkdir", f"{top}/ctr")
    sandbox.check(*client(sandbox), "images", "mount", name, f"{top}/ctr")
    assert compare(ours, sandbox.seen("ctr")) == []


@pytest.mark.parametrize("form", ["directory", "auto"])
def test_mounted_bundles_have_the_same_tree(layout: Path, ours: Path, tmp_path: Path, form: str) -> None:
    words = ["unpack", "-q", "--snapshot", form, "--snapshots", str(tmp_path / "snapshots")]
    assert main([*words, "--image", f"{layout}:latest", str(tmp_path / "bundle")]) == 0
    try:
        assert differences(str(ours), str(tmp_path / "bundle/rootfs")) == []
    finally:
        assert main(["unmount", "-q", "--remove", str(tmp_path / "bundle")]) == 0
        with SnapshotCache(str(tmp_path / "snapshots"), exclusive=True) as cache:
            cache.collect_garbage()
