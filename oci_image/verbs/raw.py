"""oci-image raw: parts of unpacking and packing, each for itself."""

from __future__ import annotations

from oci_image.configure import tag_of
from oci_image.flatten import add_layer
from oci_image.layers.limits import parse_limits
from oci_image.layers.ownership import IdMap, parse_id_range
from oci_image.locations import locate_image, tag_in
from oci_image.raw import unpack_tree, write_runtime_config
from oci_image.verbs.options import add_platform, chosen_platform
from oci_image.verbs.repack import add_history_options, history_of
from oci_image.verbs.squash import add_compression_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

ACTIONS = ("unpack", "add-layer", "runtime-config")
SUMMARY = "unpack without a bundle, write a config.json, add a layer as it is"
DESCRIPTION = """\
  unpack DIR             make the tree of an image in a new directory, without a bundle around it
  add-layer FILE         put a tar archive on top of an image as a layer, byte by byte as it is
  runtime-config FILE    write the config.json of an image; --rootfs says where names of users are looked up"""
EXAMPLES = """\
examples:
  oci-image raw unpack --image alpine:3.20 tree
  oci-image raw add-layer --image layout:app --tag patched patch.tar
  oci-image raw runtime-config --image alpine:3.20 --rootfs tree config.json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--image", required=True, metavar="IMAGE", help="the image")
    parser.add_argument("--tag", default="", metavar="TAG", help="add-layer: the tag of the result")
    parser.add_argument("--rootfs", default="", metavar="DIR", help="runtime-config: the image's tree")
    for name in ("uid", "gid"):
        parser.add_argument(
            f"--{name}-map", action="append", default=[], metavar="CONTAINER:HOST:SIZE",
            help=f"map {'user' if name == 'uid' else 'group'} ids",
        )  # fmt: skip
    parser.add_argument("--rootless", action="store_true", help="unpack: give all files to the caller")
    parser.add_argument("--keep-dirlinks", action="store_true", help="unpack: as for unpack")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help="as for unpack")
    add_platform(parser)
    add_compression_options(parser, ["auto", "gzip", "zstd", "none"])
    add_history_options(parser)
    parser.add_argument("action", metavar="ACTION", choices=ACTIONS, help=", ".join(ACTIONS))
    parser.add_argument("place", metavar="PLACE", help="the directory or file")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(arguments.image)
    place, platform = arguments.place, chosen_platform(arguments)
    uid_map, gid_map = (
        IdMap(tuple(map(parse_id_range, each))) for each in (arguments.uid_map, arguments.gid_map)
    )
    if arguments.action == "add-layer":
        manifest = add_layer(
            layout, reference, place, tag=tag_in(layout, arguments.tag) or tag_of(reference),
            compression=arguments.compress, level=arguments.compress_level,
            history=history_of(arguments, f"oci-image raw add-layer {place}"), limits=parse_limits(arguments.limit),
        )  # fmt: skip
        output.result(f"made {manifest.digest}", {"manifest": str(manifest.digest)})
        return 0
    if arguments.action == "unpack":
        notices = unpack_tree(
            layout, reference, place, platform=platform, uid_map=uid_map, gid_map=gid_map,
            rootless=arguments.rootless, keep_dirlinks=arguments.keep_dirlinks, limits=parse_limits(arguments.limit),
        )  # fmt: skip
        for notice in notices:
            output.warn(notice)
        output.result(f"unpacked into {place}", {"directory": place, "warnings": list(notices)})
        return 0
    write_runtime_config(
        layout, reference, place, root=arguments.rootfs, platform=platform, uid_map=uid_map, gid_map=gid_map
    )
    output.result(f"wrote {place}", {"config": place})
    return 0
