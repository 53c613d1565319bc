"""oci-image verify: every byte of a store or of one image."""

from __future__ import annotations

from dataclasses import asdict

from oci_image.store.check import check_store
from oci_image.store.content import Store, default_store_path
from oci_image.verbs.options import add_store, readable_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "read and check a store or an image"
DESCRIPTION = """\
Read every blob that the images of a store need and compare size and digest.  Manifests of other
platforms may be absent.  Exit code 1 if anything is wrong."""
EXAMPLES = """\
examples:
  oci-image verify
  oci-image verify alpine
  oci-image verify --store ./layout --json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="only these images")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    with Store.open(arguments.store or default_store_path()) as store:
        roots = [store.find(image) for image in arguments.images] or None
        found = check_store(store, roots)
    lines = [f"{fault.digest}: {fault.what}" for fault in found.faults]
    lines.append(
        f"{found.blobs} blobs, {readable_size(found.size)}, {len(found.absent)} manifests absent, "
        f"{len(found.faults)} faults"
    )
    output.result("\n".join(lines), asdict(found))
    return 1 if found.faults else 0
