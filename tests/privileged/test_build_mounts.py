"""RUN --mount: commands see what is mounted, layers have nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from oci_image.build.mounts import parse_mount, read_secret
from oci_image.errors import ImageError
from tests.privileged.build_place import Place, base, place

__all__ = ["base", "place"]
pytestmark = pytest.mark.privileged


def test_the_context_and_stages_are_seen_and_not_changed(place: Place) -> None:
    place.write("tree/a", "content")
    place.write("tree/secret", "x")
    place.write(".dockerignore", "tree/secret\n")
    built = place.build(
        "FROM BASE AS other\nRUN mkdir /out && echo made > /out/made\n"
        "FROM BASE\n"
        "RUN --mount=type=bind,source=tree,target=/mnt/tree --mount=from=other,source=/out,target=/mnt/out,rw"
        " cat /mnt/tree/a /mnt/out/made > /seen && ! ls /mnt/tree/secret && ! touch /mnt/tree/x && touch /mnt/out/x\n"
        "RUN --mount=source=tree/a,dst=a,rw --mount=from=other,dst=/other echo y >> a && ! ls /other/out/x\n"
    )
    layers = place.layers(built)
    assert list(layers[1]) == ["seen"]
    assert layers[1]["seen"].size == len("contentmade\n")
    assert len(layers) == 2
    assert (place.context / "tree/a").read_text() == "content"
    place.check_nothing_is_left()


def test_a_change_of_what_is_bound_makes_the_step_anew(place: Place) -> None:
    text = "FROM BASE\nRUN --mount=source=tree,target=/t cat /t/a > /seen\n"
    place.write("tree/a", "one")
    place.build(text)
    place.build(text)
    assert place.from_cache() == 1
    place.write("tree/a", "other")
    assert place.layers(place.build(text))[1]["seen"].size == len("other")


@pytest.mark.parametrize("sharing", ["shared", "private", "locked"])
def test_a_cache_stays_from_build_to_build(place: Place, sharing: str) -> None:
    line = f"RUN --mount=type=cache,id=../x,target=/cache,mode=0700,uid=5,sharing={sharing}"
    first = place.build(
        f"FROM BASE\n{line} echo 1 >> /cache/log; stat -c %u:%a /cache > /owner; cp /cache/log /log\n"
    )
    assert place.layers(first)[1]["log"].size == 2
    second = place.build(f"FROM BASE\n{line} echo 2 >> /cache/log; cp /cache/log /log\n")
    entries = place.layers(second)[1]
    assert (list(entries), entries["log"].size) == (["log"], 4)


def test_a_secret_is_seen_and_never_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "FROM BASE\n"
        "RUN --mount=type=secret,id=token --mount=type=secret,id=token,env=TOKEN,target=/t,mode=0444"
        ' test ${#TOKEN} = 17 && test "$(cat /run/secrets/token)" = "$TOKEN" && stat -c %a /t > /mode\n'
        "RUN --mount=type=secret,id=other ! ls /run/secrets/other\n"
    )
    built = place.build(text, secrets={"token": b"hidden everywhere"})
    assert list(place.layers(built)[1]) == ["mode"]
    blobs = [path.read_bytes() for path in Path(place.store, "blobs/sha256").iterdir()]
    assert not any(b"hidden everywhere" in blob for blob in blobs)
    with pytest.raises(ImageError, match="'token' is required"):
        place.build("FROM BASE\nRUN --mount=type=secret,id=token,required true\n")
    monkeypatch.setenv("TOKEN", "in the environment")
    (place.directory / "file").write_text("in a file")
    assert read_secret("id=TOKEN") == ("TOKEN", b"in the environment")
    assert read_secret("id=a,env=TOKEN") == ("a", b"in the environment")
    assert read_secret(f"id=a,src={place.directory}/file") == ("a", b"in a file")


def test_a_tmpfs_is_empty_and_its_own(place: Place) -> None:
    built = place.build(
        "FROM BASE\nRUN --mount=type=tmpfs,target=/bin/x,size=4096 touch /bin/x/y && echo > /made\n"
    )
    assert list(place.layers(built)[1]) == ["made"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("type=other,target=/x", "type 'other' are not supported"),
        ("type=bind", "needs a target"),
        ("type=tmpfs,target=/x,id=y", "has no id"),
        ("type=secret,id=x,from=y", "has no from"),
    ],
)
def test_mounts_that_cannot_be(text: str, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        parse_mount(text, "/")


@pytest.mark.parametrize("path", ["../secret", "link", "up/secret"])
def test_nothing_outside_of_the_context_or_stage_is_mounted(place: Place, path: str) -> None:
    (place.directory / "secret").write_text("secret")
    (place.context / "link").symlink_to(place.directory / "secret")
    (place.context / "up").symlink_to("..")
    with pytest.raises(ImageError, match="no source file matches"):
        place.build(f"FROM BASE\nRUN --mount=source={path},target=/x cat /x\n")
    with pytest.raises(ImageError, match="to mount"):
        place.build(
            f"FROM BASE AS a\nRUN ln -s {place.directory}/secret /link && ln -s ../../../.. /up\n"
            f"FROM BASE\nRUN --mount=from=a,source={path},target=/x cat /x\n"
        )
    place.check_nothing_is_left()
