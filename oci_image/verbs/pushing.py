"""oci-image push: images of the store into a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.transfer import push, push_every_tag
from oci_image.verbs.copying import add_copy_options, copy_options
from oci_image.verbs.options import registry_options
from oci_image.verbs.pulling import show_transferred
from pyruntime.base.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "push an image to a registry"
DESCRIPTION = """\
Push an image of the store.  Layers that the registry has are not sent; with --mount-from, those that
another of its repositories has neither."""
EXAMPLES = """\
examples:
  oci-image push registry.example/team/app:1
  oci-image push app docker://registry.example/team/app:1
  oci-image push --all-tags registry.example/team/app
  oci-image push --digestfile pushed --all --referrers app registry.example/team/app:1"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_copy_options(parser)
    parser.add_argument(
        "--mount-from", default="", metavar="PATH", help="a repository with some of the layers"
    )
    parser.add_argument("--all-tags", action="store_true", help="push every name in a repository")
    parser.add_argument("--digestfile", default="", metavar="FILE", help="write the digest into a file")
    parser.add_argument("image", metavar="IMAGE", help="name or digest in the store")
    parser.add_argument("destination", metavar="REFERENCE", nargs="?", default="", help="default: the name")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    if arguments.all_tags and (arguments.destination or arguments.digestfile):
        raise UsageError("--all-tags goes with neither a second name nor --digestfile")
    registry = registry_options(arguments)
    with copy_options(arguments, output) as options:
        if arguments.all_tags:
            pushed = list(push_every_tag(arguments.image, options, store=arguments.store, registry=registry))
        else:
            pushed = [
                push(
                    arguments.image,
                    arguments.destination,
                    options,
                    store=arguments.store,
                    registry=registry,
                    mount_from=arguments.mount_from,
                )
            ]
    if arguments.digestfile:
        output.write_file(arguments.digestfile, str(pushed[0].root.digest))
    show_transferred(output, pushed, whole=arguments.all_tags)
    return 0
