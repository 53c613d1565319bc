"""oci-image delete: an image of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.images import delete_image
from oci_image.verbs.options import add_registry, registry_options

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "delete an image from a registry"
DESCRIPTION = """\
Delete a tag.  A registry that cannot delete tags is asked to delete the manifest, with all of its tags;
the output says which of the two was done."""
EXAMPLES = """\
examples:
  oci-image delete docker://registry.example/team/app:old"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_registry(parser)
    parser.add_argument("image", metavar="REFERENCE", help="[HOST/]PATH[:TAG|@DIGEST]")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    reference = parse_registry_reference(arguments.image.removeprefix("docker://"))
    what = delete_image(reference, registry_options(arguments))
    output.result(f"deleted {what} {reference}", {"deleted": what, "reference": str(reference)})
    return 0
