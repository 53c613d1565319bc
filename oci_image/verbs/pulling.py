"""oci-image pull: images of a registry into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oci_image.transfer import POLICIES, pull, pull_every_tag
from oci_image.verbs.copying import add_copy_options, copy_options, describe_copy
from oci_image.verbs.options import registry_options
from pyruntime.base.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output
    from oci_image.transfer import Transferred

SUMMARY = "pull an image from a registry"
DESCRIPTION = """\
Pull an image into the store, layers in parallel and verified as they arrive.  What a broken pull has
fetched stays, and the next pull goes on from there.

Policies: always asks the registry; missing only if the store has no such image for the platform; never
does not; newer fetches what has another digest there, and keeps what is here if nobody answers."""
EXAMPLES = """\
examples:
  oci-image pull alpine:3.20
  oci-image pull --platform linux/arm64 registry.example/team/app
  oci-image pull --policy missing --quiet debian:12
  oci-image pull --all-tags registry.example/team/app
  oci-image pull --all registry.example/team/app@sha256:0123...cdef"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_copy_options(parser)
    parser.add_argument("--name", default="", help="the image's name in the store (default: its own)")
    parser.add_argument(
        "--policy", choices=POLICIES, default="always", help="when to ask the registry (default: always)"
    )
    parser.add_argument("--all-tags", action="store_true", help="pull every tag of a repository")
    parser.add_argument("image", metavar="REFERENCE", help="[HOST/]PATH[:TAG|@DIGEST]")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    if arguments.all_tags and (arguments.name or arguments.policy != "always"):
        raise UsageError("--all-tags goes with neither --name nor --policy")
    registry = registry_options(arguments)
    with copy_options(arguments, output) as options:
        if arguments.all_tags:
            pulled = list(pull_every_tag(arguments.image, options, store=arguments.store, registry=registry))
        else:
            pulled = [
                pull(
                    arguments.image,
                    options,
                    name=arguments.name,
                    policy=arguments.policy,
                    store=arguments.store,
                    registry=registry,
                )
            ]
    show_transferred(output, pulled, whole=arguments.all_tags)
    return 0


def show_transferred(output: Output, moved: list[Transferred], *, whole: bool) -> None:
    """Print a line for each image; as data a list with `whole`, else the one image."""
    lines = [
        f"{image.name}: digest: {image.root.digest}" + ("" if image.result else " (was there already)")
        for image in moved
    ]
    values = [_describe(image) for image in moved]
    output.lines(lines, values if whole else values[0])


def _describe(image: Transferred) -> dict[str, Any]:
    if image.result:
        return describe_copy(image.name, image.result)
    return {
        "digest": str(image.root.digest),
        "mediaType": image.root.media_type,
        "name": image.name,
        "copied": 0,
    }
