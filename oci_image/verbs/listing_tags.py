"""oci-image list-tags: the tags of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.listing import list_tags
from oci_image.verbs.options import add_registry, registry_options

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "list the tags of a repository"
DESCRIPTION = "List all tags of a registry's repository."
EXAMPLES = """\
examples:
  oci-image list-tags docker://registry.example/team/app
  oci-image list-tags --json alpine"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_registry(parser)
    parser.add_argument("repository", metavar="REPOSITORY", help="[HOST/]PATH")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    reference = parse_registry_reference(arguments.repository.removeprefix("docker://"), default_tag="")
    tags = list_tags(reference, registry_options(arguments))
    output.lines(tags, {"Repository": f"{reference.host}/{reference.repository}", "Tags": tags})
    return 0
