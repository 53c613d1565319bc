"""Where a build gets files and secrets from: repositories, archives, named contexts, and an SSH agent."""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_image.build.agent import read_agent
from oci_image.build.builder import BuildOptions, BuiltImage, build_image
from oci_image.build.git import GitSource, parse_git_url
from oci_image.errors import ImageError, IntegrityError
from tests.privileged.build_place import Place, base, place

__all__ = ["base", "place"]
pytestmark = pytest.mark.privileged
# Says what it was told, to the agent and back.
CLIENT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = getenv("SSH_AUTH_SOCK");
    char answer[100];
    if (!path) return 2;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return perror(path), 3;
    if (write(fd, "sign this\n", 10) != 10) return 4;
    ssize_t length = read(fd, answer, sizeof answer);
    return length > 0 && write(1, answer, length) == length ? 0 : 5;
}
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory and where it is served; in it a repository with a tag, a branch and a link to the host."""
    top = tmp_path / "served"
    repository = top / "app.git"
    repository.mkdir(parents=True)
    write(repository / "Dockerfile", "FROM scratch\nCOPY . /all/\n")
    write(repository / "sub/Dockerfile", "FROM scratch\nCOPY . /sub/\nADD *ile /\n")
    write(repository / "sub/file", "one")
    (repository / "out").symlink_to("/etc")
    (repository / "sub/hostile").symlink_to("/etc/hostname")
    git = functools.partial(run_git, repository)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("tag", "v1")
    write(repository / "sub/file", "second")
    git("commit", "-q", "-a", "-m", "two")
    git("branch", "other")
    git("update-server-info")
    shutil.move(repository / ".git", top / "bare.git")
    handler = functools.partial(_Quiet, directory=str(top))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield repository, f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run_git(repository: Path, *words: str) -> None:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    when = {f"GIT_{role}_DATE": "1700000000 +0000" for role in ("AUTHOR", "COMMITTER")}
    environment = {**os.environ, **who, **when, "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "-C", str(repository), *words], check=True, capture_output=True, env=environment)


def build_from(place: Place, context: str, **options: object) -> BuiltImage:
    return build_image(
        context,
        BuildOptions(
            tags=("built",), store=place.store, snapshots=str(place.builds.parent), runtime=place.runtime,
            **options,  # type: ignore[arg-type]
        ),
    )  # fmt: skip


def test_add_takes_a_repository(place: Place, served: tuple[Path, str]) -> None:
    url = f"{served[1]}/bare.git"
    text = (
        f"FROM scratch\nADD {url} /head/\nADD --chown=7 {url}#v1:sub /tagged/\n"
        f"ADD --keep-git-dir=true {url}#other /branch/\n"
    )
    head, tagged, branch = place.layers(place.build(text))
    assert head["head/sub/file"].size == len("second")
    assert head["head/out"].linkname == "/etc"
    assert {entry.mtime for name, entry in head.items() if name != "head"} == {1_700_000_000}
    assert not [name for name in head if ".git" in name]
    assert (tagged["tagged/file"].size, tagged["tagged/file"].uid) == (len("one"), 7)
    assert "branch/.git/HEAD" in branch
    assert place.from_cache() == 0
    place.build(text.replace("--keep-git-dir=true", ""))
    assert place.from_cache() == 2
    place.check_nothing_is_left()


@pytest.mark.parametrize(
    ("where", "error", "what"),
    [
        ("{0}/bare.git#nothing", ImageError, "has no 'nothing'"),
        ("{0}/none.git", ImageError, "git fetch failed"),
        ("{0}/bare.git#v1:nothing", ImageError, "no source file matches"),
        ("--checksum=0123456789 {0}/bare.git", IntegrityError, "is at the commit"),
        ("{0}/bare.git#--upload-pack=x", ImageError, "invalid git reference"),
    ],
)
def test_repositories_that_cannot_be(
    place: Place, served: tuple[Path, str], where: str, error: type[ImageError], what: str
) -> None:
    with pytest.raises(error, match=what):
        place.build(f"FROM scratch\nADD {where.format(served[1])} /x/\n")
    place.check_nothing_is_left()


def test_what_is_a_repository() -> None:
    for text in ("git@host.example:a/b", "ssh://git@host/a", "git://host/a", "https://host/a.git/"):
        assert parse_git_url(text) == GitSource(text, "", "")
    assert parse_git_url("https://h/a.git#v1:x/y") == GitSource("https://h/a.git", "v1", "x/y")
    for text in (
        "https://host/a.tar",
        "./a.git",
        "a@b",
        "ssh://-oProxyCommand=x/a",
        "file:///a.git",
        "ext::sh -c x",
    ):
        assert parse_git_url(text) is None


def test_a_repository_is_a_context(place: Place, served: tuple[Path, str]) -> None:
    url = f"{served[1]}/bare.git"
    (layer,) = place.layers(build_from(place, f"{url}#v1"))
    assert layer["all/sub/file"].size == len("one")
    layers = place.layers(build_from(place, f"{url}#:sub"))
    assert layers[1]["file"].size == len("second")
    assert "sub/sub/file" in place.layers(build_from(place, url, dockerfile="sub/Dockerfile"))[0]
    # The content of a file of the host would be told in an error.
    with pytest.raises(ImageError, match="no 'sub/hostile'"):
        build_from(place, url, dockerfile="sub/hostile")
    place.check_nothing_is_left()


def test_archives_are_contexts_from_servers_and_pipes(place: Place, served: tuple[Path, str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(served[0] / "sub", "")
    (served[0].parent / "context.tar.gz").write_bytes(buffer.getvalue())
    layers = place.layers(build_from(place, f"{served[1]}/context.tar.gz"))
    assert layers[1]["file"].size == len("second")
    buffer.seek(0)
    assert place.layers(build_from(place, "-", stdin=buffer))[1]["file"].size == len("second")
    built = build_from(place, "-", stdin=io.BytesIO(b"FROM scratch\nLABEL a=b\n"))
    assert place.config(built)["config"]["Labels"] == {"a": "b"}
    (served[0].parent / "plain").write_text("FROM scratch\nLABEL c=d\n")
    assert place.config(build_from(place, f"{served[1]}/plain"))["config"]["Labels"] == {"c": "d"}


def test_contexts_by_name(place: Place, served: tuple[Path, str]) -> None:
    other = place.directory / "other"
    write(other / "file", "content")
    write(other / "left", "out")
    write(other / ".dockerignore", "left\n")
    text = (
        "FROM replaced AS first\nCOPY --from=Files . /files/\n"
        "RUN --mount=from=files,target=/m test -e /m/file && test ! -e /m/left && echo > /seen\n"
        "COPY --from=git sub/file /git\nCOPY --from=image /etc/passwd /copied\n"
    )
    contexts = {
        "replaced": place.base, "files": str(other), "git": f"{served[1]}/bare.git#v1",
        "image": place.base.replace("oci:", "oci-layout://"),
    }  # fmt: skip
    layers = place.layers(place.build(text, contexts=contexts))
    assert "files/file" in layers[1]
    assert "files/left" not in layers[1]
    assert "seen" in layers[2]
    assert layers[3]["git"].size == len("one")
    assert "copied" in layers[4]
    write(other / "file", "changed")
    place.build(text, contexts=contexts)
    assert place.from_cache() == 0
    with pytest.raises(ImageError, match="has files and is no image"):
        place.build("FROM files\n", contexts=contexts)
    with pytest.raises(ImageError, match="no directory and no image"):
        place.build("FROM scratch\nCOPY --from=x a b\n", contexts={"x": "/nowhere"})


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """Answers each caller with what it said, turned round."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(caller.recv(100)[::-1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_commands_reach_the_agent_and_layers_have_nothing_of_it(
    place: Place, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = place.context / "client.c"
    source.write_text(CLIENT)
    subprocess.run(["cc", "-static", "-o", place.context / "client", source], check=True, timeout=60)
    text = (
        "FROM BASE\nCOPY client /bin/\nRUN --mount=type=ssh client > /said && client >> /said\n"
        "USER 5\nRUN --mount=type=ssh,id=mine,uid=5,mode=0600,target=/tmp/x,required client > /tmp/said\n"
    )
    layers = place.layers(place.build(text, agents={"default": agent, "mine": agent}))
    assert (list(layers[2]), layers[2]["said"].size) == (["said"], 20)
    assert layers[3]["tmp/said"].size == 10
    with pytest.raises(ImageError, match="'mine' is required"):
        place.build(text, agents={"default": agent}, use_cache=False)
    with pytest.raises(ImageError, match="non-zero code: 2"):
        place.build("FROM BASE\nCOPY client /bin/\nRUN --mount=type=ssh client\n")
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    assert read_agent("default") == ("default", agent)
    assert read_agent(f"x={agent}") == ("x", agent)
    with pytest.raises(ImageError, match="not the socket"):
        read_agent(f"x={source}")
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(ImageError, match="SSH_AUTH_SOCK is not set"):
        read_agent("default")
    place.check_nothing_is_left()
