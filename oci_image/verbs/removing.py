"""oci-image remove: names, and images that have none left."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.store.content import Entry, Store, default_store_path, name_of
from oci_image.verbs.options import add_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "remove images from a store"
DESCRIPTION = """\
Remove names of images, or by digest an image with all of its names.  The space is given back by
oci-image gc, or at once with --gc."""
EXAMPLES = """\
examples:
  oci-image remove alpine
  oci-image remove --gc app:old app:older
  oci-image remove --store ./layout sha256:0123abcd"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument(
        "--force", "-f", action="store_true", help="what is not there is no error, as podman has it"
    )
    parser.add_argument("--gc", action="store_true", help="give the space back at once")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="name or digest")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    removed: list[Entry] = []
    blobs: list[str] = []
    with Store.open(arguments.store or default_store_path()) as store:
        for image in arguments.images:
            try:
                removed += store.remove_image(image)
            except ImageError as error:
                if not arguments.force or not error.what.startswith("no such image"):
                    raise
        if arguments.gc:
            blobs, _ = store.collect()
    lines = [f"Untagged: {name_of(entry)}" for entry in removed if name_of(entry)]
    lines += [f"Deleted: {digest}" for digest in blobs]
    output.lines(lines, {"untagged": [name_of(entry) for entry in removed], "deleted": blobs})
    return 0
