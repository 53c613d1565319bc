"""oci-image diff: what has changed in a bundle."""

from __future__ import annotations

from oci_image.locations import locate_image
from oci_image.repack import RepackOptions, diff_bundle
from oci_image.store.content import default_store_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "show what has changed in a bundle"
DESCRIPTION = """\
Compare a bundle's root file system with the image that it was unpacked from.  A line says A for a path that
was added, C for one with other content or attributes, D for one that was removed."""
EXAMPLES = """\
examples:
  oci-image diff bundle
  oci-image diff --image layout bundle
  oci-image diff --json --image layout bundle"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument(
        "--image",
        default="",
        metavar="IMAGE",
        help="what it was unpacked from (default: an image of the store)",
    )
    parser.add_argument(
        "--mask-path", action="append", default=[], metavar="PATH", help="take nothing below PATH for changed"
    )
    parser.add_argument("--no-mask-volumes", action="store_true", help="look into the image's volumes too")
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's directory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout = locate_image(arguments.image)[0] if arguments.image else default_store_path()
    options = RepackOptions(mask_paths=tuple(arguments.mask_path), mask_volumes=not arguments.no_mask_volumes)
    changes = diff_bundle(layout, arguments.bundle, options)
    lines = [
        *((path, "A") for path in changes.added),
        *((path, "C") for path in changes.changed),
        *((path, "D") for path in changes.removed),
    ]
    output.lines(
        [f"{letter} {path}" for path, letter in sorted(lines)],
        {
            "added": list(changes.added),
            "changed": list(changes.changed),
            "removed": list(changes.removed),
        },
    )
    return 0
