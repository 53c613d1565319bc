"""oci-image save: images of the store into one archive."""

from __future__ import annotations

import sys

from oci_image.copying import CopyOptions
from oci_image.transfer import save
from oci_image.verbs.options import add_platform, add_store, chosen_platform
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
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
  oci-image save alpine | ssh host docker load
  oci-image save --all -o every-platform.tar alpine"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    add_platform(parser)
    parser.add_argument("--all", "-a", action="store_true", help="save indexes with all of their platforms")
    parser.add_argument(
        "--output", "-o", default="-", metavar="FILE",
        help="the archive; replaced if it is there (default: standard output)",
    )  # fmt: skip
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="names or digests")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    options = CopyOptions(
        platform=chosen_platform(arguments),
        every_platform=arguments.all,
    )
    if arguments.output == "-":
        if sys.stdout.isatty():
            raise UsageError("an archive is not written to a terminal", hint="use --output FILE")
        save(arguments.images, sys.stdout.buffer, options, store=arguments.store)
        sys.stdout.buffer.flush()
        return 0
    saved = save(arguments.images, arguments.output, options, store=arguments.store)
    output.result(
        f"saved {len(saved)} images in {arguments.output}",
        {"file": arguments.output, "images": {name: str(digest) for name, digest in saved.items()}},
    )
    return 0
