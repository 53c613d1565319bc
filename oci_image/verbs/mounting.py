"""oci-image mount: the root file system of a bundle that was made with --snapshot."""

from __future__ import annotations

from oci_image.snapshots.overlay import mount_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "mount the root file system of a bundle"
DESCRIPTION = """\
Mount the root file system of a bundle that was made with unpack --snapshot: after a restart of the
machine, or after unmount.  A bundle that is mounted is left as it is."""
EXAMPLES = """\
example:
  oci-image mount /run/bundle"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's directory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    mounted = mount_bundle(arguments.bundle)
    text = f"mounted {arguments.bundle}" if mounted else f"{arguments.bundle} was mounted already"
    output.result(text, {"bundle": arguments.bundle, "mounted": mounted})
    return 0
