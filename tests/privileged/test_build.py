"""Building from Dockerfiles: trees and configs are what was asked for, and nothing else is left anywhere."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oci_image.build.builder import BuiltImage
from oci_image.errors import ImageError
from oci_image.model.digest import parse_digest
from oci_image.store.check import check_store
from oci_image.store.content import Store
from pyruntime.base.errors import ExpectedError
from tests.conftest import TREE
from tests.privileged.build_place import Place, base, place

__all__ = ["base", "place"]
pytestmark = pytest.mark.privileged
EPOCH = "1700000000"


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


ALL_SETTINGS = """\
FROM BASE
ARG VERSION=1
ENV VERSION_SEEN=$VERSION LONG="a b"
LABEL maintainer="me" version=${VERSION:-none}
WORKDIR /srv/app
COPY app .
RUN echo "$VERSION $LONG" > made && rm /bin/hello
USER nobody
RUN id -un > /tmp/who
EXPOSE 80 9000-9001/udp
VOLUME /data /more
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --retries=3 CMD true
ENTRYPOINT ["/srv/app/run.sh"]
CMD one two
"""


def test_a_build_has_the_tree_and_config_that_were_asked_for(place: Place) -> None:
    place.write("app/run.sh", "#!/bin/sh\n", 0o755)
    place.write("app/data", "data\n", 0o600)
    built = place.build(ALL_SETTINGS, arguments={"VERSION": "2"})
    assert place.config(built)["config"] == {
        "Env": ["PATH=/bin", "VERSION_SEEN=2", "LONG=a b"],
        "Labels": {"maintainer": "me", "version": "2"},
        "WorkingDir": "/srv/app",
        "User": "nobody",
        "ExposedPorts": {"80/tcp": {}, "9000/udp": {}, "9001/udp": {}},
        "Volumes": {"/data": {}, "/more": {}},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000, "Retries": 3},
        "Entrypoint": ["/srv/app/run.sh"],
        "Cmd": ["/bin/sh", "-c", "one two"],
    }
    layers = place.layers(built)
    assert sorted(layers[1]) == ["srv", "srv/app"]
    assert {name: entry.mode for name, entry in layers[2].items()} == {
        "srv": 0o755, "srv/app": 0o755, "srv/app/data": 0o600, "srv/app/run.sh": 0o755,
    }  # fmt: skip
    assert sorted(layers[3]) == ["bin", "bin/.wh.hello", "srv", "srv/app", "srv/app/made"]
    assert (layers[4]["tmp/who"].uid, layers[4]["tmp"].mode) == (65534, 0o1777)
    with Store(place.store) as store:
        assert not check_store(store).faults
    place.check_nothing_is_left()


STAGES = """\
FROM BASE AS tools
RUN mkdir /out && echo made > /out/made && ln /out/made /out/second && chown 5:6 /out/made
FROM BASE AS unused
RUN exit 1
FROM scratch AS final
COPY --from=tools /out /
COPY --from=0 /out/made /again
COPY --chown=7:8 --chmod=0640 file /owned
FROM final
"""


def test_stages_copy_from_each_other_and_only_what_is_needed_is_built(place: Place) -> None:
    place.write("file", "one")
    first, second, third = place.layers(place.build(STAGES))
    assert (first["made"].uid, first["made"].gid) == (5, 6)
    assert first["second"].islnk()
    assert second["again"].isreg()
    assert (third["owned"].uid, third["owned"].gid, third["owned"].mode) == (7, 8, 0o640)
    with pytest.raises(ImageError, match="returned a non-zero code: 1"):
        place.build(STAGES, target="unused")
    place.check_nothing_is_left()


def test_a_step_is_taken_from_the_cache_until_something_that_it_depends_on_changes(place: Place) -> None:
    text = (
        "FROM BASE\nARG A=1\nRUN cat /proc/uptime > /when\nCOPY file /\nRUN echo $A; cat /proc/uptime > /x\n"
    )
    place.write("file", "one")
    first = place.config(place.build(text))["rootfs"]
    assert place.from_cache() == 0
    os.utime(place.context / "file", (1, 1))
    again = place.config(place.build("# a comment\n" + text.replace("ARG", "LABEL x=y\nARG")))["rootfs"]
    assert (place.from_cache(), again) == (3, first)
    place.write("file", "two")
    place.build(text)
    assert place.from_cache() == 1
    place.build(text, arguments={"A": "2"})
    assert place.from_cache() == 0
    place.build(text, use_cache=False)
    assert place.from_cache() == 0


def test_a_cached_layer_that_the_store_has_lost_is_made_again(place: Place) -> None:
    text = "FROM BASE\nRUN echo x > /x\n"
    place.build(text)
    with Store(place.store) as store:
        store.remove("built")
        store.collect()
    built = place.build(text)
    assert (place.from_cache(), list(place.layers(built)[1])) == (0, ["x"])


def test_with_a_fixed_time_the_same_input_makes_the_same_image(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    text = "FROM BASE\nRUN mkdir /a && echo x > /a/b\nWORKDIR /w\nCOPY file /z/\nLABEL a=b\n"
    digests = set()
    for _ in range(2):
        place.write("file", "one")
        built = place.build(text, use_cache=False)
        digests.add(built.manifest.digest)
    assert len(digests) == 1
    assert place.config(built)["created"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("FROM BASE\nRUN echo said; exit 7", 2, "returned a non-zero code: 7"),
        ("FROM BASE\nCOPY nothing /x", 2, "no source file matches 'nothing'"),
        ("FROM BASE\nCOPY tree/a /bin/sh/x", 2, "cannot copy"),
        ("FROM BASE\nCOPY tree/a /tree\nCOPY tree /tree", 3, "cannot copy"),
        ("FROM BASE\nCOPY --bad=1 file /", 2, "unknown flag: --bad"),
        ("FROM BASE\nUSER nosuch\nRUN true", 3, "'nosuch' is not in the image's /etc/passwd"),
        ("FROM BASE\nEXPOSE 99999", 2, "invalid containerPort"),
        ("FROM BASE\n\nCOPY file tree/a /there", 3, "must be a directory and end with a /"),
        ('FROM BASE\nRUN ["/nonexistent"]', 2, "no such file or directory"),
        ("FROM BASE\nCOPY ../../etc/passwd /x", 2, "no source file matches"),
        ("FROM BASE\nCOPY --from=7 a b", 2, "no stage 7"),
        ("FROM ${NOTHING}", 1, "should not be blank"),
        ("FROM nosuch.invalid/image", 1, "policy is never to pull"),
    ],
)
def test_an_error_names_file_and_line_and_leaves_nothing(
    place: Place, text: str, line: int, what: str
) -> None:
    place.write("file", "x")
    place.write("tree/a", "x")
    with pytest.raises(ExpectedError) as failure:
        place.build(text, pull="never")
    assert what.lower() in failure.value.what.lower()
    assert failure.value.where.startswith(f"{place.dockerfile}:{line}")
    with Store(place.store) as store:
        assert not [entry for entry in store.index().manifests if "built" in entry.annotations.values()]
    assert not place.builds.exists() or not list(place.builds.iterdir())


def test_a_base_from_elsewhere_brings_no_name_along(place: Place) -> None:
    place.build("FROM BASE\nRUN true\n")
    with Store(place.store) as store:
        names = [
            entry.annotations.get("org.opencontainers.image.ref.name") for entry in store.index().manifests
        ]
    assert names == [None, "built"]


@pytest.mark.parametrize(
    "step", ["COPY big /", "RUN dd if=/dev/zero of=/big bs=1M count=9 2>&1", "COPY many /m"]
)
def test_a_full_disk_fails_the_step_and_the_next_try_succeeds(place: Place, step: str) -> None:
    (place.context / "big").write_bytes(bytes(9_000_000))
    (place.context / "many").mkdir()
    for number in range(600):
        (place.context / f"many/{number}").write_bytes(b"x" * 9000)
    small = place.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(small)], check=True)
    try:
        with pytest.raises(ExpectedError) as failure:
            place.build(f"FROM BASE\n{step}\n", snapshots=str(small))
        assert failure.value.where.startswith(f"{place.dockerfile}:2")
        assert list((small / "builds").iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
    place.build(f"FROM BASE\n{step}\n")
    assert place.from_cache() == 0
    place.check_nothing_is_left()


def test_the_output_of_a_failed_command_is_shown_if_it_was_kept(place: Place) -> None:
    with pytest.raises(ImageError) as failure:
        place.build("FROM BASE\nRUN echo a reason >&2; exit 1\n")
    assert "a reason" in failure.value.hint


def test_the_ignore_file_keeps_files_out(place: Place) -> None:
    for name in ("keep", "drop.o", "sub/drop.o", "sub/keep", "out/x", "out/back"):
        place.write(name, name)
    place.write(".dockerignore", "**/*.o\nout\n!out/back\n.dockerignore\n")
    built = place.build("FROM scratch\nCOPY . /c/\n")
    assert sorted(place.layers(built)[0]) == ["c", "c/keep", "c/out", "c/out/back", "c/sub", "c/sub/keep"]
    with pytest.raises(ImageError, match="no source file matches"):
        place.build("FROM scratch\nCOPY drop.o /\n")


def test_copy_leaves_out_what_is_excluded_and_keeps_parents_that_are_asked_for(place: Place) -> None:
    for name in ("a/b/one.txt", "a/b/two.md", "a/c/three.txt", "top.md", "top.txt"):
        place.write(name, name)
    lines = [
        "FROM scratch", "COPY --exclude=*.md --exclude=b/one.txt a top.* /x/",
        "COPY --parents a/b/*.txt a/c /y/", "COPY --parents a/./b/one.txt a/c/./three.txt /z/",
    ]  # fmt: skip
    first, second, third = place.layers(place.build("\n".join(lines)))
    assert sorted(first) == ["x", "x/b", "x/b/two.md", "x/c", "x/c/three.txt", "x/top.txt"]
    assert sorted(second) == ["y", "y/a", "y/a/b", "y/a/b/one.txt", "y/a/c", "y/a/c/three.txt"]
    assert sorted(third) == ["z", "z/b", "z/b/one.txt", "z/three.txt"]


def test_links_of_the_context_lead_nowhere_outside(place: Place) -> None:
    secret = place.directory / "secret"
    secret.write_text("secret")
    (place.context / "absolute").symlink_to(secret)
    (place.context / "relative").symlink_to("../secret")
    (place.context / "up").symlink_to("..")
    for name in ("absolute", "relative", "up/secret"):
        with pytest.raises(ImageError, match="no source file matches"):
            place.build(f"FROM scratch\nCOPY {name} /x\n")


def test_a_link_in_the_image_leads_nowhere_outside(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    place.write("file", "x")
    lines = [
        "FROM BASE", f"RUN ln -s {target} /evil && ln -s ../../../.. /up",
        "COPY file /evil/", f"COPY file /up{target}/other", "WORKDIR /evil/deep",
    ]  # fmt: skip
    layers = place.layers(place.build("\n".join(lines)))
    assert list(target.iterdir()) == []
    inside = str(target).lstrip("/")
    assert f"{inside}/file" in layers[2]
    assert f"{inside}/other" in layers[3]
    assert f"{inside}/deep" in layers[4]


def test_replaced_directories_and_files_hide_what_was_there(place: Place) -> None:
    built = place.build(
        "FROM BASE\n"
        "RUN mkdir -p /d/sub/deep /e && touch /d/old /d/sub/old /d/sub/deep/x /e/f /file\n"
        "RUN rm -rf /d && mkdir -p /d/sub && touch /d/new && rm -r /e && ln -s /bin /e"
        " && rm /file && mkdir /file\n"
    )
    names = set(place.layers(built)[2])
    assert names == {"d", "d/.wh.old", "d/new", "d/sub", "d/sub/.wh.old", "d/sub/.wh.deep", "e", "file"}


def test_commands_leave_no_mount_points_in_the_layer(place: Place) -> None:
    place.write("busybox", "", 0o755)
    (place.context / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    built = place.build('FROM scratch\nCOPY busybox /sh\nRUN ["/sh", "-c", "cd proc/1 && echo > /made"]\n')
    assert list(place.layers(built)[1]) == ["made"]


DOCUMENTS = """\
FROM BASE
ENV NAME=value
COPY <<one <<"two" /docs/
$NAME
one
$NAME
two
RUN <<EOF
echo first > /first
test "$NAME" = value
EOF
RUN <<EOF
#!/bin/sh -e
echo $0 > /script
EOF
RUN cat > /from <<EOF
x $NAME
EOF
"""


def test_here_documents(place: Place) -> None:
    layers = place.layers(place.build(DOCUMENTS))
    assert (layers[1]["docs/one"].size, layers[1]["docs/two"].size) == (len("value\n"), len("$NAME\n"))
    assert "first" in layers[2]
    assert layers[3]["script"].size == len("/dev/pipes/EOF\n")
    assert layers[-1]["from"].size == len("x value\n")


def test_a_dockerfile_comes_through_a_pipe_and_its_errors_too(
    place: Place, oci_image_program: list[str]
) -> None:
    command = [
        *oci_image_program, "build", "--json", "--store", place.store, "--snapshots", str(place.builds.parent),
        "--label", "by=hand", "-t", "one", "-t", "two", "--iidfile", str(place.directory / "id"), "-f", "-",
    ]  # fmt: skip

    def build(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(place.context)],
            input=text, check=False, capture_output=True, text=True, timeout=60, cwd=TREE,
        )  # fmt: skip

    done = build("FROM scratch\nLABEL a=b\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["names"] == ["one", "two"]
    assert (place.directory / "id").read_text() == json.loads(done.stdout)["id"]
    with Store(place.store) as store:
        assert store.find("one").digest == store.find("two").digest
        built = BuiltImage(store.find("one"), parse_digest(json.loads(done.stdout)["id"]), ())
    assert place.config(built)["config"]["Labels"] == {"a": "b", "by": "hand"}
    failed = build("FROM scratch\nRUNN x\n")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "unknown instruction: RUNN (/dev/stdin:2)" in failed.stderr


def test_triggers_of_the_base_run_in_the_stage_that_uses_it(place: Place) -> None:
    place.write("file", "x")
    place.build("FROM BASE\nONBUILD COPY file /triggered\nONBUILD RUN test -e /triggered\n", tags=("parent",))
    built = place.build("FROM parent\nRUN test -e /triggered\n")
    assert "OnBuild" not in place.config(built)["config"]
    assert list(place.layers(built)[1]) == ["triggered"]


def test_local_archives_are_unpacked_by_add_only(place: Place) -> None:
    for suffix in ("", ".gz", ".bz2", ".xz"):
        path = place.context / f"a.tar{suffix}"
        with path.open("wb") as file, tarfile.open(fileobj=file, mode=f"w:{suffix[1:]}") as archive:  # type: ignore[call-overload]
            entry = tarfile.TarInfo(f"in{suffix}")
            entry.uid, entry.mode = 9, 0o600
            archive.addfile(entry)
    first, second = place.layers(place.build("FROM scratch\nADD a.tar a.tar.* /x/\nCOPY a.tar.gz /y/\n"))
    assert sorted(first) == ["x", "x/in", "x/in.bz2", "x/in.gz", "x/in.xz"]
    assert first["x/in.xz"].uid == 9
    assert sorted(second) == ["y", "y/a.tar.gz"]


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves one archive, with a time."""

    content = b""

    def do_GET(self) -> None:
        if self.path != "/some/a%20b.tar?x=y":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server on loopback."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("inside"))
    _Files.content = made.getvalue()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def test_what_is_added_from_a_server_is_verified_and_not_unpacked(place: Place, server: str) -> None:
    digest = hashlib.sha256(_Files.content).hexdigest()
    text = f"FROM scratch\nADD --checksum=sha256:{digest} {server}/some/a%20b.tar?x=y /x/\n"
    entry = place.layers(place.build(text))[0]["x/a b.tar"]
    assert (entry.mode, entry.mtime, entry.size) == (0o600, 1_700_000_000, len(_Files.content))
    for wrong, what in (
        (text.replace(digest, "0" * 64), "not sha256:000"),
        (text.replace("some", "other"), "status 404"),
        (text.replace("some/a%20b.tar?x=y", ""), "cannot tell a file name"),
    ):
        with pytest.raises(ImageError, match=what):
            place.build(wrong)
    place.check_nothing_is_left()


def test_a_user_namespace_is_enough(place: Place, oci_image_program: list[str]) -> None:
    place.write("file", "x")
    place.dockerfile.write_text(f"FROM {place.base}\nRUN rm /bin/hello && mkdir /made\nCOPY file /made/\n")
    command = [
        "unshare", "--user", "--map-root-user", "--mount", *oci_image_program, "build", "--json", "--store",
        place.store, "--snapshots", str(place.builds.parent), "-f", str(place.dockerfile), "-t", "built",
    ]  # fmt: skip
    command += ["--runtime", place.runtime] if place.runtime else []
    done = subprocess.run(
        [*command, "--network", "none", str(place.context)],
        check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=TREE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Store(place.store) as store:
        built = BuiltImage(store.find("built"), parse_digest(json.loads(done.stdout)["id"]), ("built",))
    assert [sorted(layer) for layer in place.layers(built)[1:]] == [
        ["bin", "bin/.wh.hello", "made"],
        ["made", "made/file"],
    ]
    place.check_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_stopped_leaves_nothing_behind(
    place: Place, number: signal.Signals, oci_image_program: list[str]
) -> None:
    place.dockerfile.write_text(f"FROM {place.base}\nRUN echo begun > /x; sleep 1000\n")
    command = [
        *oci_image_program, "build", "--store", place.store, "--snapshots", str(place.builds.parent),
        "-f", str(place.dockerfile), "--network", "none", str(place.context),
    ]  # fmt: skip
    if place.runtime:
        command[-1:-1] = ["--runtime", place.runtime]
    with (place.directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=TREE)
        wait_until(lambda: [*place.builds.glob(".*/*/upper/x")])
        process.send_signal(number)
        assert process.wait(30) in (128 + number, -number)
    if number == signal.SIGKILL:
        place.build("FROM scratch\nLABEL a=b\n")  # the next build cleans up
    place.check_nothing_is_left()
