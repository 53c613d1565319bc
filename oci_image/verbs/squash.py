"""oci-image squash: one layer of many."""

from __future__ import annotations

from oci_image.configure import tag_of
from oci_image.flatten import squash_image
from oci_image.locations import locate_image, tag_in
from oci_image.verbs.options import add_one_image, add_platform, chosen_platform, one_image
from oci_image.verbs.repack import add_history_options, history_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "make one layer of all layers of an image"
DESCRIPTION = """\
Make an image with one layer, which has the tree that all layers of an image make together; what upper layers
hide or replace is gone.  Without --tag the image's own tag moves to the result."""
EXAMPLES = """\
examples:
  oci-image squash --tag app:flat app:1
  oci-image squash --image layout:app --compress zstd"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--tag", default="", metavar="TAG", help="the tag of the result")
    add_platform(parser)
    add_compression_options(parser, ["gzip", "zstd", "none"])
    add_history_options(parser)
    add_one_image(parser)


def add_compression_options(parser: argparse.ArgumentParser, choices: list[str]) -> None:
    """How a new layer is compressed; the first choice is the default."""
    parser.add_argument("--compress", choices=choices, default=choices[0], help="the layer's compression")
    parser.add_argument("--compress-level", type=int, default=0, metavar="N", help="how hard to compress")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(one_image(arguments))
    manifest = squash_image(
        layout,
        reference,
        tag_in(layout, arguments.tag) or tag_of(reference),
        compression=arguments.compress,
        level=arguments.compress_level,
        history=history_of(arguments, "oci-image squash"),
        platform=chosen_platform(arguments),
    )
    output.result(f"made {manifest.digest}", {"manifest": str(manifest.digest)})
    return 0
