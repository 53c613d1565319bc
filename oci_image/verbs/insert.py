"""oci-image insert: files into an image without a bundle."""

from __future__ import annotations

from oci_image.configure import tag_of
from oci_image.flatten import insert_tree, insert_whiteout
from oci_image.locations import locate_image, tag_in
from oci_image.verbs.repack import add_history_options, history_of
from oci_image.verbs.squash import add_compression_options
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "put files into an image, or take a path out of it"
DESCRIPTION = """\
Put a file or a directory at a path of an image, or take a path out of it with --whiteout, by one layer on top.
The layer below is not looked at, so it takes the time of the files alone."""
EXAMPLES = """\
examples:
  oci-image insert --image layout:app --tag app2 ./etc /etc
  oci-image insert --image layout:app --opaque ./www /srv/www
  oci-image insert --image layout:app --whiteout /var/cache"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--image", required=True, metavar="IMAGE", help="the image")
    parser.add_argument("--tag", default="", metavar="TAG", help="the tag of the result")
    parser.add_argument("--opaque", action="store_true", help="hide what the image has in that directory")
    parser.add_argument("--whiteout", action="store_true", help="remove the path DST instead")
    parser.add_argument("--rootless", action="store_true", help="let root own all of it")
    add_compression_options(parser, ["auto", "gzip", "zstd", "none"])
    add_history_options(parser)
    parser.add_argument("paths", nargs="+", metavar="[SRC] DST", help="what goes where")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    if len(arguments.paths) != (1 if arguments.whiteout else 2):
        raise UsageError("insert takes SRC and DST, and with --whiteout DST alone")
    if arguments.whiteout and arguments.opaque:
        raise UsageError("--whiteout takes a path out, so there is nothing that --opaque could hide")
    layout, reference = locate_image(arguments.image)
    tag = tag_in(layout, arguments.tag) or tag_of(reference)
    history = history_of(arguments, "oci-image insert")
    if arguments.whiteout:
        manifest = insert_whiteout(layout, reference, arguments.paths[0], tag=tag, history=history)
    else:
        manifest = insert_tree(
            layout, reference, *arguments.paths, tag=tag, opaque=arguments.opaque, rootless=arguments.rootless,
            compression=arguments.compress, level=arguments.compress_level, history=history,
        )  # fmt: skip
    output.result(f"made {manifest.digest}", {"manifest": str(manifest.digest)})
    return 0
