"""oci-image pull: an image of a registry into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.model.registry_reference import parse_registry_reference
from oci_image.verbs.copying import add_copy_options, copy

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "pull an image from a registry"
DESCRIPTION = """\
Pull an image into the store, layers in parallel and verified as they arrive.  What a broken pull has
fetched stays, and the next pull goes on from there."""
EXAMPLES = """\
examples:
  oci-image pull alpine:3.20
  oci-image pull --platform linux/arm64 registry.example/team/app
  oci-image pull --all registry.example/team/app@sha256:0123...cdef"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_copy_options(parser)
    parser.add_argument("--name", default="", help="the image's name in the store (default: its own)")
    parser.add_argument("image", metavar="REFERENCE", help="[HOST/]PATH[:TAG|@DIGEST]")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    reference = parse_registry_reference(arguments.image.removeprefix("docker://"))
    copy(arguments, output, f"docker://{reference}", arguments.name or str(reference))
    return 0
