"""oci-image gc: the space of blobs that no image needs."""

from __future__ import annotations

from oci_image.store.content import Store, default_store_path
from oci_image.verbs.options import add_store, readable_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "remove blobs that no image needs"
DESCRIPTION = """\
Remove blobs that no image of a store needs, and what broken transfers left.  Waits for pulls and other
writers; removes nothing if any document in the store cannot be understood."""
EXAMPLES = """\
examples:
  oci-image gc
  oci-image gc --dry-run --json
  oci-image gc --store ./layout"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    with Store.open(arguments.store or default_store_path(), create=not arguments.store) as store:
        digests, size = store.collect(dry_run=arguments.dry_run)
    verb = "would remove" if arguments.dry_run else "removed"
    output.result(f"{verb} {len(digests)} blobs, {readable_size(size)}", {"blobs": digests, "bytes": size})
    return 0
