"""oci-image logout: forget credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.registry.credentials import store_credentials

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "forget the credentials for a registry"
DESCRIPTION = "Forget the credentials for a registry.  The registry is not asked."
EXAMPLES = """\
examples:
  oci-image logout registry.example"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--authfile", default="", metavar="FILE", help="where (default: $REGISTRY_AUTH_FILE)")
    parser.add_argument(
        "registry", nargs="?", default="docker.io", metavar="HOST[:PORT]", help="default: docker.io"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    path = store_credentials(arguments.registry, None, arguments.authfile)
    output.result(
        f"Removed login credentials for {arguments.registry}", {"registry": arguments.registry, "file": path}
    )
    return 0
