"""oci-image delete: an image of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.listing import delete_image
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
  oci-image delete docker://registry.example/team/app:old
  oci-image delete --manifest registry.example/team/app:old
  oci-image delete registry.example/team/app@sha256:0123...cdef"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_registry(parser)
    parser.add_argument("--manifest", action="store_true", help="delete the manifest, with all of its tags")
    parser.add_argument("image", metavar="REFERENCE", help="[HOST/]PATH[:TAG|@DIGEST]")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    reference = parse_registry_reference(arguments.image.removeprefix("docker://"))
    done = delete_image(reference, registry_options(arguments), whole_manifest=arguments.manifest)
    value = {
        "deleted": done.what,
        "reference": str(reference),
        "digest": done.digest,
        "tags": list(done.tags),
    }
    tags = f", which had the tags {', '.join(done.tags)}" if done.what == "manifest" and done.tags else ""
    output.result(f"deleted {done.what} {reference} ({done.digest}){tags}", value)
    return 0
