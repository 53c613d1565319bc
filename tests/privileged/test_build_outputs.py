"""build --squash, --output and --push: what else becomes of a built image."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from oci_image.build.outputs import BuildOutput, parse_output
from oci_image.errors import ImageError
from oci_image.inspecting import inspect_image
from oci_image.model.reference import Reference
from oci_image.store.check import check_store
from oci_image.store.content import Store
from oci_image.unpack import UnpackOptions, unpack_image
from pyruntime.base.errors import UsageError
from tests.conftest import TREE
from tests.faulty_registry import FaultyRegistry
from tests.privileged.build_place import Place, base, place
from tests.privileged.compare_trees import differences

__all__ = ["base", "place"]
pytestmark = pytest.mark.privileged
CHANGES = """\
FROM BASE
RUN mkdir -p /d/gone /d/opaque /d/target && echo 1 > /d/one && ln /d/one /d/two && ln -s target /d/link \
 && echo a > /d/gone/a && echo b > /d/opaque/b && echo kept > /d/target/kept && echo secret > /d/secret
RUN rm -r /d/gone /d/opaque /d/link /d/secret && mkdir /d/opaque /d/link && echo c > /d/opaque/c && rm /bin/hello \
 && chmod 700 /tmp && ln /d/two /d/three && ln /etc/passwd /etc/linked
RUN echo last >> /d/one && mv /d/target /d/moved && chown 5:6 /d/moved
LABEL a=b
"""


def unpacked(place: Place, name: str) -> str:
    bundle = place.directory / f"bundle-{name}"
    unpack_image(place.store, Reference(name), str(bundle), UnpackOptions())
    return str(bundle / "rootfs")


def test_squashed_layers_have_the_same_tree(place: Place) -> None:
    place.build(CHANGES, tags=("whole",))
    whole = unpacked(place, "whole")
    for how, count in (("new", 2), ("all", 1)):
        built = place.build(CHANGES, tags=(how,), squash=how)
        assert place.from_cache() == 3
        layers = place.layers(built)
        assert len(layers) == count
        assert not [path for path in layers[-1] if "secret" in path]
        assert ("bin/.wh.hello" in layers[-1]) == (how == "new")
        config = place.config(built)
        assert config["config"]["Labels"] == {"a": "b"}
        steps = config["history"]
        assert [bool(step.get("empty_layer")) for step in steps].count(False) == count
        assert [step["created_by"] for step in steps][-1] == "squash"
        assert differences(whole, unpacked(place, how)) == []
    with Store(place.store) as store:
        assert check_store(store).faults == ()


def test_one_layer_is_not_squashed_again(place: Place) -> None:
    built = place.build("FROM scratch\nCOPY . /\n", squash="all")
    assert "squash" not in json.dumps(place.config(built)["history"])


def test_a_tree_goes_into_a_directory_and_an_archive(place: Place) -> None:
    place.write("file", "content", 0o640)
    target = place.directory / "out"
    (target / "etc").mkdir(parents=True)
    (target / "etc/own").write_text("stays")
    (target / "etc/passwd").write_text("goes")
    archive = place.directory / "root.tar"
    outputs = (parse_output(str(target)), parse_output(f"type=tar,dest={archive}"))
    place.build("FROM BASE\nCOPY --chown=7:8 file /srv/\n", tags=(), outputs=outputs)
    assert (target / "etc/own").read_text() == "stays"
    assert (target / "etc/passwd").read_text().startswith("root:")
    found = (target / "srv/file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (7, 8, 0o640)
    assert not [name for name in os.listdir(target) if name.startswith(".")]
    with tarfile.open(archive) as opened:
        assert opened.getmember("srv/file").uid == 7
    with Store(place.store) as store:
        assert [entry for entry in store.entries() if "built" in str(entry)] == []
    (target / "srv/file").unlink()
    (target / "srv/file").mkdir()
    with pytest.raises(ImageError, match="the same name"):
        place.build("FROM BASE\nCOPY --chown=7:8 file /srv/\n", outputs=outputs[:1])
    place.check_nothing_is_left()


def test_images_go_into_archives_layouts_and_registries(place: Place) -> None:
    place.write("file", "content")
    top = place.directory
    with FaultyRegistry(b"layer") as registry:
        outputs = tuple(
            map(parse_output, [f"type=oci,dest={top}/a.tar", f"type=docker,dest={top}/b.tar,name=other:2",
                               f"type=oci,tar=false,dest={top}/layout", "type=image",
                               f"type=image,name={registry.address}/app:2,push=true"])
        )  # fmt: skip
        built = place.build("FROM scratch\nCOPY file /\n", tags=("built",), outputs=outputs)
        assert registry.pushed["2"]
    for image in (
        f"oci-archive:{top}/a.tar:built:latest",
        f"docker-archive:{top}/b.tar:other:2",
        f"oci:{top}/layout:docker.io/library/built:latest",
    ):
        assert inspect_image(image).manifest.digest == built.manifest.digest
    with pytest.raises(UsageError, match="without a name"):
        place.build("FROM scratch\n", tags=(), outputs=(BuildOutput("registry", push=True),))


@pytest.mark.parametrize(
    ("text", "what"),
    [("type=other,dest=x", "no type that is known"), ("dest=x", "no type"), ("type=local", "needs dest"),
     ("type=oci,tar=false", "needs dest"), ("type=tar,name=x", "has no name")],
)  # fmt: skip
def test_outputs_that_cannot_be(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_output(text)


def test_a_tar_goes_through_a_pipe_and_nothing_else_does(place: Place, oci_image_program: list[str]) -> None:
    place.write("Dockerfile", "FROM scratch\nCOPY file /\n")
    place.write("file", "content")
    words = [*oci_image_program, "build", "--store", place.store, "--snapshots", str(place.builds.parent)]

    def build(*more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*words, *more, str(place.context)], check=False, capture_output=True, timeout=60, cwd=TREE
        )

    done = build("-o", "-", "--cache-from", "type=gha")
    assert b"--cache-from" in done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "file" in archive.getnames()
    assert build("-o", "-", "-o", "type=oci").returncode == 2
    quiet = build("-q", "--metadata-file", str(place.directory / "data"), "--annotation", "k=v", "-t", "one")
    described = json.loads((place.directory / "data").read_text())
    assert quiet.stdout.decode().strip() == described["containerimage.config.digest"]
    assert described["image.name"] == "one"
    with Store(place.store) as store:
        assert json.loads(store.read_document(store.find("one")))["annotations"] == {"k": "v"}


def test_hosts_are_known_to_commands_and_not_to_the_image(place: Place, oci_image_program: list[str]) -> None:
    built = place.build(
        "FROM BASE\nRUN cat /etc/hosts > /seen\n",
        hosts=(("far", "10.1.2.3"), ("six", "fd00::1")),
        network="none",
    )
    layers = place.layers(built)
    assert list(layers[-1]) == ["seen"]
    text = Path(unpacked(place, "built"), "seen").read_text()
    assert text.endswith("10.1.2.3 far\nfd00::1 six\n")
    wrong = subprocess.run(
        [*oci_image_program, "build", "--add-host", "far", "."], check=False, capture_output=True, cwd=TREE
    )
    assert wrong.returncode == 2
