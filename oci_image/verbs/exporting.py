"""oci-image export: the tree of an image as a tar archive."""

from __future__ import annotations

import sys

from oci_image.flatten import export_image, export_to_file
from oci_image.locations import locate_image
from oci_image.verbs.options import add_one_image, add_platform, chosen_platform, one_image
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "write the tree of an image as a tar archive"
DESCRIPTION = "Write the tree that the layers of an image make together as one plain tar archive."
EXAMPLES = """\
examples:
  oci-image export -o tree.tar alpine:3.20
  oci-image export --image layout:app | tar -t"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--output", "-o", default="-", metavar="FILE", help="the archive (default: stdout)")
    add_platform(parser)
    add_one_image(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(one_image(arguments))
    platform = chosen_platform(arguments)
    if arguments.output == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive is not written to a terminal", hint="use --output FILE")
        export_image(layout, reference, sys.stdout.buffer, platform=platform)
        sys.stdout.buffer.flush()
        return 0
    export_to_file(layout, reference, arguments.output, platform=platform)
    output.result(f"wrote {arguments.output}", {"output": arguments.output})
    return 0
