"""oci-image manifest-digest: what a registry would call a manifest."""

from __future__ import annotations

from oci_image.raw import digest_of_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "print the digest of a manifest in a file"
DESCRIPTION = "Print the digest that a registry would give the manifest or index in a file."
EXAMPLES = """\
example:
  oci-image inspect --raw docker://alpine:3.20 > manifest.json && oci-image manifest-digest manifest.json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("file", metavar="FILE", help="the manifest or index")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    digest = str(digest_of_manifest(arguments.file))
    output.result(digest, {"digest": digest})
    return 0
