"""oci-image tag: one more name for an image."""

from __future__ import annotations

from oci_image.model.registry_reference import full_name
from oci_image.store.content import Store, default_store_path
from oci_image.verbs.options import add_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "give an image one more name"
DESCRIPTION = "Give an image of a store one more name.  If another image has the name, it loses it."
EXAMPLES = """\
examples:
  oci-image tag alpine registry.example/team/alpine:1
  oci-image tag sha256:0123abcd app:old
  oci-image tag --store ./layout latest stable"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument("image", metavar="IMAGE", help="name or digest of the image")
    parser.add_argument("name", metavar="NAME", help="the new name")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    # In a layout that the user names, names are tags and stay what they are.
    name = arguments.name if arguments.store else full_name(arguments.name)
    with Store.open(arguments.store or default_store_path()) as store, store.adding():
        entry = store.find(arguments.image)
        store.tag(entry, name)
    output.result(f"{name}: {entry.digest}", {"name": name, "digest": str(entry.digest)})
    return 0
