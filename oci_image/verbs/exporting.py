"""oci-image export: the tree of an image as a tar archive."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from oci_image.flatten import export_image
from oci_image.model.platform import parse_platform
from oci_image.model.reference import parse_image_name
from pyruntime.base.errors import HostError, UsageError, errno_text

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "write the tree of an image as a tar archive"
DESCRIPTION = "Write the tree that the layers of an image make together as one plain tar archive."
EXAMPLES = """\
examples:
  oci-image export --image layout:app --output tree.tar
  oci-image export --image layout:app | tar -t"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--image", required=True, metavar="LAYOUT[:TAG|@DIGEST]", help="the image")
    parser.add_argument("--output", "-o", default="-", metavar="FILE", help="the archive (default: stdout)")
    parser.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="which image of an index")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = parse_image_name(arguments.image)
    platform = parse_platform(arguments.platform) if arguments.platform else None
    if arguments.output == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive is not written to a terminal", hint="use --output FILE")
        export_image(layout, reference, sys.stdout.buffer, platform=platform)
        sys.stdout.buffer.flush()
        return 0
    # The archive gets its name when it is whole.
    temporary = f"{arguments.output}.partial-{os.getpid()}"
    try:
        with open(temporary, "xb") as target:
            export_image(layout, reference, target, platform=platform)
        os.replace(temporary, arguments.output)
    except OSError as error:
        what = f"cannot write the archive: {errno_text(error.errno or 0)}"
        raise HostError(what, where=arguments.output) from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    output.result(f"wrote {arguments.output}", {"output": arguments.output})
    return 0
