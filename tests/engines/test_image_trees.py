"""Images that buildah and docker made, unpacked by umoci, containerd, buildah, docker and oci-image: one tree."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.snapshots.cache import SnapshotCache
from tests.engines import images
from tests.engines.debian import write_root
from tests.engines.differential import need
from tests.engines.sandbox import Sandbox
from tests.engines.test_containerd import client as client_of_containerd
from tests.engines.test_containerd import start_daemon
from tests.engines.test_docker import Docker, client
from tests.engines.test_docker import start_daemon as start_dockerd
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


_LAYERS = "{{.GraphDriver.Data.UpperDir}}:{{with .GraphDriver.Data.LowerDir}}{{.}}{{end}}"
# Layers upon Debian packages, by RUN in a container.
DOCKERFILE = r"""
FROM scratch
ADD root.tar /
ENV PATH=/usr/sbin:/usr/bin
RUN set -e; mkdir -m 755 /srv; cd /srv; \
    mkdir -p many opaque/inner gone linked; for n in $(seq 200); do echo $n > many/f$n; done; \
    ln many/f1 many/hard; ln -s /srv/many link; ln -s nowhere dangling; mkdir deep; ln -s ../many deep/up; \
    echo a > opaque/a; echo b > opaque/inner/b; echo c > gone/c; echo d > linked/d; chmod 1777 gone; \
    setcap cap_net_raw,cap_sys_nice=eip many/f2; chown 1000:2000 many/f3; chown -h 5:6 link; \
    mkfifo fifo; mknod zero c 1 5; mknod disk b 7 1; touch -d @1000000000 many/f4 many; \
    touch "many/$(printf 'gr\303\274n \377')" "$(printf 'many/new\nline')"; truncate -s 1M many/sparse; \
    touch -d @-5 many/old
RUN set -e; cd /srv; rm many/f1?; rm -r opaque; mkdir opaque; echo new > opaque/new; rm -r gone; \
    rm many/f5; mkdir many/f5; echo inner > many/f5/inner; rm dangling; echo file > dangling; \
    rm -r linked; ln -s opaque linked; rm link; mkdir link; echo in > link/in; rm fifo; mkfifo fifo; \
    echo changed >> many/f6; chmod 600 many/f7; ln many/f8 later; ln many/f1 many/hard2; mv many/f20 moved; \
    chmod 2750 many/f9; setcap -r many/f2; chmod u-s /usr/bin/mount; rm -r /usr/share/zoneinfo/Asia
COPY --chown=7:8 some /srv/deep/some
RUN set -e; cd /srv; rm -r many; mkdir many; echo last > many/last; mv moved opaque/moved; rmdir deep/some/empty; \
    mkdir -p opaque/inner; rm -r linked; mkdir linked; touch /.root; chmod 711 /srv
VOLUME /data
COPY some/file /data/
"""


class Built:
    """An image as a layout and as an archive, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout, self.archive = directory / "oci", directory / "image.tar"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    need("buildah", "containerd", "ctr", "umoci", "setcap", "setfattr", "skopeo")
    with Sandbox() as made, start_daemon(made):
        yield made


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    need("dockerd", "containerd", "runc", "iptables", "dpkg-query", "setcap")
    with start_dockerd("runc") as made:
        yield made


@pytest.fixture(scope="module", params=["buildah", "docker", "buildkit"])
def built(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """The image of one builder."""
    made = Built(tmp_path_factory.mktemp(request.param))
    if request.param == "buildah":
        build_with_buildah(sandbox, made)
    else:
        build_with_docker(request.getfixturevalue("docker"), made, request.param)
    return made


def build_with_buildah(sandbox: Sandbox, made: Built) -> None:
    """Changes to a mounted busybox, one layer each."""
    top = sandbox.directory
    images.write_archive(sandbox.seen("box.tar"))
    buildah = " ".join(storage(sandbox))
    script = [f"set -e; umask 022; c=$({buildah} from --pull-never docker-archive:{top}/box.tar)"]
    for number, step in enumerate(STEPS):
        sandbox.write(f"step{number}", step)
        script += [
            f"m=$({buildah} mount $c); sh -e {top}/step{number} $m; {buildah} umount $c >&2",
            f"{buildah} commit -q --rm $c step{number}; c=$({buildah} from --pull-never step{number})",
        ]
    script += [
        f"{buildah} push -q step{len(STEPS) - 1} oci:{made.layout}:latest",
        f"{buildah} push -q step{len(STEPS) - 1} oci-archive:{made.archive}:localhost/built:1",
    ]
    sandbox.check("sh", "-c", "\n".join(script))


def build_with_docker(docker: Docker, made: Built, builder: str) -> None:
    """A Dockerfile upon Debian packages; what docker saves."""
    place, name = docker.sandbox, f"localhost/{builder}:1"
    context = place.seen("context")
    if not context.exists():
        (context / "some/empty").mkdir(parents=True)
        (context / "some/file").write_text("file")
        (context / "some/file").chmod(0o4711)
        write_root(context / "root.tar")
        (context / "Dockerfile").write_text(DOCKERFILE)
    place.environment["DOCKER_BUILDKIT"] = "1" if builder == "buildkit" else "0"
    # By its path: a newer client elsewhere may need plugins for this.
    command = ("/usr/bin/docker", *client(place))
    place.check(*command, "build", "--network=none", "-t", name, f"{place.directory}/context")
    place.check(*command, "save", "-o", f"{place.directory}/{builder}.tar", name)
    shutil.copyfile(place.seen(f"{builder}.tar"), made.archive)
    subprocess.run(
        ["skopeo", "copy", "-q", f"docker-archive:{made.archive}", f"oci:{made.layout}:latest"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    # Docker's own view: its directories for the layers, mounted as it does for a container.
    layers = place.check(*command, "image", "inspect", "-f", _LAYERS, name).strip().strip(":")
    place.check("mkdir", f"{place.directory}/{builder}")
    place.check("mount", "-t", "overlay", "-o", f"lowerdir={layers}", "none", f"{place.directory}/{builder}")


def storage(sandbox: Sandbox) -> list[str]:
    """buildah, with a storage in the sandbox."""
    top = sandbox.directory
    return ["buildah", "--root", f"{top}/storage", "--runroot", f"{top}/run", "--storage-driver", "overlay"]


def compare(ours: Path, theirs: Path) -> list[tuple[str, str, object, object]]:
    """What differs, but for the root's own attributes, which no layer of the images lists."""
    return [found for found in differences(str(ours), str(theirs)) if found[0] != "."]


@pytest.fixture(scope="module")
def ours(built: Built) -> Path:
    bundle = built.directory / "ours"
    assert main(["unpack", "-q", "--image", f"{built.layout}:latest", str(bundle)]) == 0
    return bundle / "rootfs"


def test_umoci_makes_the_same_tree(built: Built, ours: Path) -> None:
    theirs = built.directory / "umoci"
    command = ["umoci", "unpack", "--image", f"{built.layout}:latest", str(theirs)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert compare(ours, theirs / "rootfs") == []


def test_buildah_mounts_the_same_tree(sandbox: Sandbox, built: Built, ours: Path) -> None:
    container = sandbox.check(*storage(sandbox), "from", "--pull-never", f"oci:{built.layout}:latest").strip()
    mounted = sandbox.check(*storage(sandbox), "mount", container).strip()
    assert compare(ours, sandbox.seen(mounted)) == []


def test_containerd_mounts_the_same_tree(sandbox: Sandbox, built: Built, ours: Path) -> None:
    place = f"{sandbox.directory}/ctr-{built.directory.name}"
    name = sandbox.check(*client_of_containerd(sandbox), "images", "import", str(built.archive)).split()[1]
    sandbox.check("mkdir", place)
    sandbox.check(*client_of_containerd(sandbox), "images", "mount", name, place)
    assert compare(ours, sandbox.seen(place)) == []


@pytest.mark.parametrize("built", ["docker", "buildkit"], indirect=True)
def test_docker_has_the_same_tree(docker: Docker, built: Built, ours: Path) -> None:
    theirs = docker.sandbox.seen(built.directory.name[:-1])
    # BuildKit's directories are those that the steps ran in, with times that layers have no digits for.
    found = [(path, what, a, b) for path, what, a, b in compare(ours, theirs) if not same_second(what, a, b)]
    assert found == []


def same_second(what: str, one: object, other: object) -> bool:
    """Whether two values are times of one second."""
    if what != "mtime_ns" or not isinstance(one, int) or not isinstance(other, int):
        return False
    return one == other // 1_000_000_000 * 1_000_000_000


@pytest.mark.parametrize("form", ["directory", "auto"])
def test_mounted_bundles_have_the_same_tree(built: Built, ours: Path, tmp_path: Path, form: str) -> None:
    words = ["unpack", "-q", "--snapshot", form, "--snapshots", str(tmp_path / "snapshots")]
    assert main([*words, "--image", f"{built.layout}:latest", str(tmp_path / "bundle")]) == 0
    try:
        assert differences(str(ours), str(tmp_path / "bundle/rootfs")) == []
    finally:
        assert main(["unmount", "-q", "--remove", str(tmp_path / "bundle")]) == 0
        with SnapshotCache(str(tmp_path / "snapshots"), exclusive=True) as cache:
            cache.collect_garbage()
