"""The same Dockerfiles built by oci-image, by BuildKit and the old builder in dockerd, and by buildah.

Config and tree are the same but for the differences that are written down here; docs/build.md argues them.
"""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_image.build.builder import BuildOptions, build_image
from oci_image.inspecting import read_image
from oci_image.locations import open_source
from oci_image.model.reference import Reference
from oci_image.snapshots.cache import SnapshotCache
from oci_image.transfer import copy
from oci_image.unpack import UnpackOptions, unpack_image
from tests.conftest import program
from tests.engines import images
from tests.engines.differential import need
from tests.engines.sandbox import Place
from tests.engines.test_docker import client, start_daemon
from tests.privileged.compare_trees import Node, read_tree

pytestmark = pytest.mark.privileged
CORPUS = {
    "copy": """\
FROM BASE
COPY tree /t1
COPY tree /t2/
COPY tree/a /f1
COPY tree/a /f2/
COPY tree/* /glob/
COPY tree/a tree/b /many/
COPY --chown=1:2 tree /owned
COPY --chown=guest:guest tree/a /owned-name
COPY --chown=5 tree/a /owned-number
COPY tree/link /followed
COPY tree/. /dot/
COPY [ "tree/with space", "/space/" ]
WORKDIR /w/x
COPY tree/a .
COPY tree/sub sub
RUN mkdir /real && ln -s /real /absolute && ln -s ../real /relative
COPY tree /absolute/in
COPY tree/a /relative/
ADD a.tar /x/
ADD a.tar.gz /y/
ADD tree/a /plain
COPY a.tar /kept/
""",
    "settings": r"""
ARG TAG=latest
FROM BASE
ARG TAG
ARG A=def B
ENV E1=$A E2="q $A" E3=${B:-dflt} E4=${B:+alt} E5='$A' E6=\$A E7=a\ b E8=${TAG}
ENV OLD  some value  here
LABEL l1=$E1 "l 2"="v 2" l3=multi\ word \
# a comment between
   l4=x
WORKDIR /one
WORKDIR two
WORKDIR ../three
USER guest:guest
EXPOSE 80/tcp 53/udp 7000-7002
STOPSIGNAL 9
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD exit 0
ONBUILD RUN echo x
ENTRYPOINT ["a", "b"]
CMD echo hello
MAINTAINER me <a@b>
RUN echo "$A-$B-$E1-$OLD-$TAG-$0" > /tmp/seen; umask >> /tmp/seen; pwd >> /tmp/seen; echo $HOME >> /tmp/seen
""",
    "run": """\
FROM BASE AS parent
CMD ["x"]
ONBUILD RUN echo triggered > /triggered
RUN mkdir -p /d/e && echo a > /d/e/f && ln -s f /d/e/l && ln /d/e/f /d/e/h && mkfifo /d/p && chmod 4755 /d/e/f
RUN ["/bin/sh", "-c", "id -u > /id; echo $PATH > /path; grep CapEff /proc/self/status > /capabilities"]
USER 1234:55
RUN id -u > /tmp/id; id -g >> /tmp/id
USER root
RUN rm -rf /d/e && mkdir /d/e && touch /d/e/z && rm /bin/uname
RUN chmod 700 /home && chown 7:8 /root && mv /etc/data /data/moved
FROM parent
ENTRYPOINT ["e"]
RUN test -f /triggered
""",
    "stages": """\
FROM BASE AS one
RUN mkdir -p /out/s && echo 1 > /out/one && chown -R 3:4 /out && ln -s one /out/ln
FROM scratch AS two
COPY --from=one /out/s /o/s
COPY --from=one /out/ln /o3
ENV X=1
FROM two
LABEL y=z
COPY tree/a /
""",
}
# (builder, Dockerfile): what is known to be different, as settings or paths.
HOST_FILES = {"etc/hosts", "etc/resolv.conf", "etc/hostname", "run"}  # what buildah leaves of its mounts
KNOWN: dict[tuple[str, str], set[str]] = {
    ("docker", "stages"): {"WorkingDir"},  # of scratch
    ("buildah", "copy"): HOST_FILES,
    ("buildah", "settings"): {
        "ExposedPorts",
        "Cmd",
        *HOST_FILES,
    },  # ports as a range, the shell that was before
    ("buildah", "run"): {"capabilities", *HOST_FILES},
    ("buildah", "stages"): {"WorkingDir"},
}


def make_context(context: Path) -> None:
    """Files of several kinds and modes, and two archives."""
    modes = {
        "tree/a": 0o644,
        "tree/b": 0o755,
        "tree/sub/c": 0o600,
        "tree/sub/deep/d": 0o640,
        "tree/with space": 0o644,
    }
    for name, mode in modes.items():
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode)
    (context / "tree/sub/deep").chmod(0o750)
    (context / "tree/link").symlink_to("a")
    for archive_name, compression in (("a.tar", ""), ("a.tar.gz", "gz")):
        with (context / archive_name).open("wb") as file:
            archive = tarfile.open(fileobj=file, mode=f"w:{compression}")  # type: ignore[call-overload]  # noqa: SIM115
            entry = tarfile.TarInfo("in/f")
            entry.uid, entry.mode = 9, 0o640
            archive.addfile(entry)
            archive.close()


def read(place: str, directory: Path) -> tuple[dict[str, Any], dict[str, Node]]:
    """Settings and tree of an image."""
    layout = str(directory / "layout")
    source = open_source(place)
    try:
        config = read_image(source).config
    finally:
        source.close()
    settings = {key: value for key, value in config["config"].items() if value}
    settings["Labels"] = {k: v for k, v in settings.get("Labels", {}).items() if k != "io.buildah.version"}
    settings["author"] = config.get("author")
    for name in ("Image", "ArgsEscaped", "Hostname"):
        settings.pop(name, None)
    copy(place, f"oci:{layout}:one")
    unpack_image(layout, Reference("one"), str(directory / "bundle"), UnpackOptions())
    nodes = read_tree(str(directory / "bundle/rootfs"))
    del nodes["."]
    return settings, {path: dataclasses.replace(node, mtime_ns=0) for path, node in nodes.items()}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with start_daemon("runc") as made:
        context = tmp_path_factory.mktemp("context")
        make_context(context)
        shutil.copytree(context, made.sandbox.seen("context"), symlinks=True)
        yield made.sandbox


def other_build(sandbox: Place, builder: str, text: str, name: str) -> str:
    """Build in the sandbox; the image as an archive of it."""
    top = sandbox.directory
    archive = f"{name}-{builder}.tar"
    if builder == "buildah":
        places = ("--root", f"{top}/containers", "--runroot", f"{top}/containers-run")
        store = ("buildah", *places, "--storage-driver", "vfs")
        base = f"docker-archive:{top}/box.tar"
        file = sandbox.write(f"{name}.buildah", text.replace("BASE", base))
        options = (
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--file",
            file,
            "--tag",
            name,
        )
        sandbox.check(*store, "bud", *options, f"{top}/context")
        sandbox.check(*store, "push", name, f"docker-archive:{top}/{archive}:{name}:1")
    else:
        sandbox.environment["DOCKER_BUILDKIT"] = "1" if builder == "buildkit" else "0"
        file = sandbox.write(f"{name}.docker", text.replace("BASE", images.NAME))
        tag = f"{name}:{builder}"
        sandbox.check(
            "/usr/bin/docker",
            *client(sandbox),
            "build",
            "--network=host",
            "-t",
            tag,
            "-f",
            file,
            f"{top}/context",
        )
        sandbox.check("/usr/bin/docker", *client(sandbox), "save", "-o", f"{top}/{archive}", tag)
    return str(sandbox.seen(archive))


@pytest.mark.parametrize("name", CORPUS)
def test_other_builders_make_the_same_image(sandbox: Place, tmp_path: Path, name: str) -> None:
    need("buildah")
    runtime = program("pyruntime")
    options = BuildOptions(
        dockerfile=str(tmp_path / "Dockerfile"), tags=("ours",), store=str(tmp_path / "store"),
        snapshots=str(tmp_path / "snapshots"), runtime=runtime[0] if len(runtime) == 1 else "",
    )  # fmt: skip
    base = f"docker-archive:{sandbox.seen('box.tar')}"
    (tmp_path / "Dockerfile").write_text(CORPUS[name].replace("BASE", base))
    build_image(str(sandbox.seen("context")), options)
    with SnapshotCache(str(tmp_path / "snapshots"), exclusive=True) as cache:
        cache.collect_garbage()
    (tmp_path / "ours").mkdir()
    settings, tree = read(f"oci:{tmp_path}/store:ours", tmp_path / "ours")
    for builder in ("buildkit", "docker", "buildah"):
        archive = other_build(sandbox, builder, CORPUS[name], name)
        (tmp_path / builder).mkdir()
        their_settings, their_tree = read(f"docker-archive:{archive}", tmp_path / builder)
        different = {key for key in settings | their_settings if settings.get(key) != their_settings.get(key)}
        different |= {path for path in tree | their_tree if tree.get(path) != their_tree.get(path)}
        shown = {
            key: (their_settings.get(key) or their_tree.get(key), settings.get(key) or tree.get(key))
            for key in sorted(different)
        }
        assert different == KNOWN.get((builder, name), set()), f"{builder}: {shown}"
