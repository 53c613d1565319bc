"""oci-image load: the images of an archive into the store."""

from __future__ import annotations

import sys

from oci_image.transfer import load
from oci_image.verbs.options import add_store
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "load the images of an archive"
DESCRIPTION = """\
Load every image of an archive that docker, podman, skopeo or oci-image saved, plain or compressed, into
the store.  A name that is taken moves to the loaded image, and the output says so."""
EXAMPLES = """\
examples:
  oci-image load -i images.tar
  docker save alpine | oci-image load
  oci-image load --store ./layout -i images.tar.gz"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument(
        "--input", "-i", default="-", metavar="FILE", help="the archive (default: standard input)"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    if arguments.input == "-" and sys.stdin.isatty():
        raise UsageError("an archive is not read from a terminal", hint="use --input FILE")
    archive = sys.stdin.buffer if arguments.input == "-" else arguments.input
    loaded = {}
    lines = []
    for image in load(archive, store=arguments.store, exact_names=bool(arguments.store)):
        digest = str(image.root.digest)
        loaded[image.name or digest] = digest
        lines.append(f"Loaded image: {image.name}" if image.name else f"Loaded image ID: {digest}")
        if image.replaced:
            lines.append(f"The name {image.name} was that of {image.replaced} before")
    output.lines(lines, loaded)
    return 0
