"""oci-image push: an image of the store into a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.model.registry_reference import parse_registry_reference
from oci_image.verbs.copying import add_copy_options, copy

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "push an image to a registry"
DESCRIPTION = """\
Push an image of the store.  Layers that the registry has are not sent; with --mount-from, those that
another of its repositories has neither."""
EXAMPLES = """\
examples:
  oci-image push registry.example/team/app:1
  oci-image push app docker://registry.example/team/app:1
  oci-image push --all --referrers app registry.example/team/app:1"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_copy_options(parser)
    parser.add_argument(
        "--mount-from", default="", metavar="PATH", help="a repository with some of the layers"
    )
    parser.add_argument("image", metavar="IMAGE", help="name or digest in the store")
    parser.add_argument("destination", metavar="REFERENCE", nargs="?", default="", help="default: the name")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    target = parse_registry_reference((arguments.destination or arguments.image).removeprefix("docker://"))
    copy(arguments, output, arguments.image, f"docker://{target}", arguments.mount_from)
    return 0
