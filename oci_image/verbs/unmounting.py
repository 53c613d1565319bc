"""oci-image unmount: the counterpart of mount, and the end of a bundle."""

from __future__ import annotations

from oci_image.snapshots.overlay import remove_bundle, unmount_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "unmount the root file system of a bundle"
DESCRIPTION = """\
Unmount the root file system of a bundle that was made with unpack --snapshot.  The bundle's changes stay
in it, for the next mount, unless --remove takes the bundle away."""
EXAMPLES = """\
examples:
  oci-image unmount /run/bundle
  oci-image unmount --remove /run/bundle"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--force", action="store_true", help="also while it is in use")
    parser.add_argument("--remove", action="store_true", help="remove the bundle with its changes")
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's directory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    unmounted = unmount_bundle(arguments.bundle, force=arguments.force)
    if arguments.remove:
        remove_bundle(arguments.bundle)
    text = f"unmounted {arguments.bundle}" if unmounted else f"{arguments.bundle} was not mounted"
    output.result(text, {"bundle": arguments.bundle, "unmounted": unmounted, "removed": arguments.remove})
    return 0
