"""oci-image save: images of the store into one archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.copying import CopyOptions, copy_image
from oci_image.locations import open_source
from oci_image.model.platform import parse_platform
from oci_image.transports.archive_destination import ArchiveDestination
from oci_image.verbs.options import add_platform, add_store

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "save images in an archive"
DESCRIPTION = """\
Save images of the store in one archive, which is an image layout and a docker-archive at once: docker,
podman and skopeo load it.  Layers that images share are saved once."""
EXAMPLES = """\
examples:
  oci-image save -o images.tar alpine debian:12
  oci-image save --all -o every-platform.tar alpine"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    add_platform(parser)
    parser.add_argument("--all", "-a", action="store_true", help="save indexes with all of their platforms")
    parser.add_argument(
        "--output", "-o", required=True, metavar="FILE", help="the archive; replaced if it is there"
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="names or digests")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    options = CopyOptions(
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        every_platform=arguments.all,
    )
    saved = {}
    destination = ArchiveDestination(arguments.output, "", docker=True)
    try:
        for image in arguments.images:
            source = open_source(image, store=arguments.store)
            try:
                destination.rename("" if image.startswith("sha256:") else image)
                saved[image] = str(copy_image(source, destination, options).root.digest)
            finally:
                source.close()
        destination.commit()
    finally:
        destination.close()
    output.result(
        f"saved {len(saved)} images in {arguments.output}", {"file": arguments.output, "images": saved}
    )
    return 0
