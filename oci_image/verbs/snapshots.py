"""oci-image snapshots: what is prepared for mounting, and removing what nobody uses."""

from __future__ import annotations

from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.place import default_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "list prepared images, or remove those that no bundle uses"
DESCRIPTION = """\
Images that unpack --snapshot has prepared are kept, so that further bundles of them cost one mount.
list shows them with the bundles that use them; gc removes those that no bundle uses, plain layers that no
image uses, and what interrupted calls have left."""
EXAMPLES = """\
examples:
  oci-image snapshots list
  oci-image snapshots gc"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--snapshots", default="", metavar="DIR", help="where prepared images are kept")
    parser.add_argument(
        "action", nargs="?", choices=["list", "gc"], default="list", help="what to do (default: list)"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    location = arguments.snapshots or default_location()
    with SnapshotCache(location, exclusive=arguments.action == "gc") as cache:
        if arguments.action == "gc":
            removed = cache.collect_garbage()
            output.result(f"removed {len(removed)} prepared images", {"removed": removed})
            return 0
        images = cache.images()
    lines = [f"{image['image']}  {len(image['bundles'])} bundles" for image in images]
    output.result("\n".join(lines) or "nothing is prepared", {"images": images})
    return 0
