"""Names of images, digests and platforms."""

from __future__ import annotations

import pytest

from oci_image.errors import ImageError
from oci_image.model.digest import parse_digest
from oci_image.model.platform import Platform, parse_platform
from oci_image.model.reference import parse_image_name
from pyruntime.base.errors import UsageError

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "directory", "tag"),
    [
        ("layout", "layout", ""),
        ("layout:tag", "layout", "tag"),
        ("/a/b:1.0", "/a/b", "1.0"),
        ("/a:b/c", "/a:b/c", ""),
        ("/a:b/c:d", "/a:b/c", "d"),
        ("./x:registry.example:5000", "./x", "registry.example:5000"),
    ],
)
def test_a_name_is_a_directory_and_a_tag(text: str, directory: str, tag: str) -> None:
    found, reference = parse_image_name(text)
    assert (found, reference.tag, reference.digest) == (directory, tag, None)


def test_a_digest_follows_an_at_sign() -> None:
    directory, reference = parse_image_name(f"/a/b@sha256:{HEX}")
    assert (directory, str(reference.digest)) == ("/a/b", f"sha256:{HEX}")


@pytest.mark.parametrize("text", ["", ":tag", "layout:", f"@sha256:{HEX}"])
def test_names_without_a_directory_or_with_an_empty_tag_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_image_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "sha256:../../../etc/passwd",
        "sha256:" + HEX.upper(),
        "sha256:" + HEX[:-1],
        "sha256:" + HEX + "\n",
        "md5:" + HEX[:32],
        "../x:" + HEX,
        HEX,
        "",
        "sha512:" + HEX,
    ],
)
def test_digests_that_are_not_exactly_right_are_refused(text: str) -> None:
    with pytest.raises(ImageError):
        parse_digest(text)


@pytest.mark.parametrize(
    ("image", "host", "suits"),
    [
        ("linux/amd64", "linux/x86_64", True),
        ("linux/arm64/v8", "linux/aarch64", True),
        ("linux/arm/v6", "linux/armv7l", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm64", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
        ("unknown/unknown", "linux/amd64", False),
    ],
)
def test_platforms_are_compared_under_their_normal_names(image: str, host: str, *, suits: bool) -> None:
    assert bool(parse_platform(image).suits(parse_platform(host))) is suits


def test_the_nearest_variant_suits_best() -> None:
    host = Platform("linux", "arm", "v7")
    ranks = [Platform("linux", "arm", variant).suits(host) for variant in ("v5", "v6", "v7")]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 3


@pytest.mark.parametrize("text", ["linux", "linux/", "a/b/c/d", ""])
def test_platforms_need_two_or_three_parts(text: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(text)
