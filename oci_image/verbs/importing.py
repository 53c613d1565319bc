"""oci-image import: a tar archive becomes an image."""

from __future__ import annotations

import sys

from oci_image.configure import tag_of
from oci_image.flatten import import_archive
from oci_image.layers.limits import parse_limits
from oci_image.locations import locate_image
from oci_image.verbs.options import add_changes, add_one_image, add_platform, chosen_platform, one_image
from oci_image.verbs.repack import add_history_options, history_of
from oci_image.verbs.squash import add_compression_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "make an image of a tar archive"
DESCRIPTION = """\
Make an image with one layer of a tar archive, plain or compressed with gzip or zstd.  Every header is checked
as it is in a layer."""
EXAMPLES = """\
examples:
  oci-image import root.tar.gz debian:mine
  oci-image import --image layout:debian -c 'CMD ["/bin/bash"]' -m "by hand" root.tar.gz
  tar -C tree -c . | oci-image import --image layout:tree -"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_platform(parser, "what it is for")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help="as for unpack")
    add_compression_options(parser, ["gzip", "zstd", "none"])
    add_history_options(parser)
    add_changes(parser)
    parser.add_argument("archive", metavar="FILE", help="the archive; - is stdin")
    add_one_image(parser, "the new image")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(one_image(arguments), new=True)
    manifest = import_archive(
        layout,
        tag_of(reference),
        sys.stdin.buffer if arguments.archive == "-" else arguments.archive,
        platform=chosen_platform(arguments),
        compression=arguments.compress,
        level=arguments.compress_level,
        history=history_of(arguments, f"oci-image import {arguments.archive}"),
        limits=parse_limits(arguments.limit),
        changes=arguments.change,
    )
    output.result(f"made {manifest.digest}", {"manifest": str(manifest.digest)})
    return 0
