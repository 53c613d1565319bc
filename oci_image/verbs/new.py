"""oci-image new: an image without layers."""

from __future__ import annotations

from oci_image.configure import create_image, tag_of
from oci_image.locations import locate_image
from oci_image.verbs.options import add_platform, chosen_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "make an image without layers"
DESCRIPTION = "Make an image without layers in a layout, as a base for insert, repack and config."
EXAMPLES = """\
examples:
  oci-image new --image layout:scratch
  oci-image new --image layout:scratch --platform linux/arm64"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--image", required=True, metavar="IMAGE", help="the new image")
    add_platform(parser, "what it is for")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(arguments.image, new=True)
    platform = chosen_platform(arguments)
    manifest = create_image(layout, tag_of(reference), platform)
    output.result(f"made {manifest.digest}", {"manifest": str(manifest.digest)})
    return 0
