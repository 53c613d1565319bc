"""oci-image catalog: the repositories of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.registry.listing import list_repositories
from oci_image.verbs.options import add_registry, registry_options

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "list the repositories of a registry"
DESCRIPTION = "List all repositories of a registry, where it allows that."
EXAMPLES = """\
examples:
  oci-image catalog registry.example:5000
  oci-image catalog --json localhost:5000"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_registry(parser)
    parser.add_argument("registry", metavar="HOST[:PORT]", help="which registry")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    names = list_repositories(arguments.registry, registry_options(arguments))
    output.result("\n".join(names), {"repositories": names})
    return 0
