"""oci-image unpack: an image of a layout becomes a runtime bundle."""

from __future__ import annotations

from oci_image.layers.limits import parse_limits
from oci_image.layers.ownership import IdMap, parse_id_range
from oci_image.locations import locate_image
from oci_image.snapshots.known import read_index_bytes, remember
from oci_image.unpack import UnpackOptions, unpack_image
from oci_image.verbs.options import add_platform, chosen_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "unpack an image into a new runtime bundle"
DESCRIPTION = """\
Unpack an image into a new bundle: a directory with rootfs/, config.json and oci-image.json, as
runtimes take it.  Size, digest and diff ID of every layer are verified; if anything is wrong, or the
command is interrupted, nothing is left behind."""
EXAMPLES = """\
examples:
  oci-image unpack --image busybox:latest /run/bundle
  oci-image unpack --image registry.example/team/app:1 bundle
  oci-image unpack --image ./layout@sha256:0123...cdef bundle
  oci-image unpack --image alpine:3.20 --platform linux/arm64 bundle
  oci-image unpack --snapshot auto --image debian:12 bundle
  oci-image unpack --limit entries=100000 --limit layer_bytes=2G --image debian:12 bundle
  oci-image unpack --rootless --image busybox bundle
  oci-image unpack --uid-map 0:100000:65536 --gid-map 0:100000:65536 --image busybox bundle"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument(
        "--image",
        required=True,
        metavar="IMAGE",
        help="LAYOUT[:TAG|@DIGEST] in a directory, or a name in the store",
    )
    add_platform(parser)
    parser.add_argument(
        "--uid-map",
        action="append",
        default=[],
        metavar="CONTAINER:HOST:SIZE",
        help="map user ids; may be repeated",
    )
    parser.add_argument(
        "--gid-map",
        action="append",
        default=[],
        metavar="CONTAINER:HOST:SIZE",
        help="map group ids; may be repeated",
    )
    parser.add_argument(
        "--rootless", action="store_true", help="give all files to the caller; devices become empty files"
    )
    parser.add_argument(
        "--keep-dirlinks",
        action="store_true",
        help="let a link to a directory stand where a layer lists a directory",
    )
    parser.add_argument("--terminal", action="store_true", help="set process.terminal in config.json")
    parser.add_argument(
        "--snapshot",
        choices=["none", "auto", "erofs", "directory"],
        default="none",
        help="mount a prepared image under a private layer for changes instead of making files"
        " (auto: in the best form that works here, else a plain directory)",
    )
    parser.add_argument("--snapshots", default="", metavar="DIR", help="where prepared images are kept")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="change a limit: layer_bytes, ratio, file_bytes, entries, name_bytes, path_depth, layers, ...",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the directory to make; must not be there yet")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(arguments.image)
    options = UnpackOptions(
        platform=chosen_platform(arguments),
        uid_map=IdMap(tuple(map(parse_id_range, arguments.uid_map))),
        gid_map=IdMap(tuple(map(parse_id_range, arguments.gid_map))),
        rootless=arguments.rootless,
        keep_dirlinks=arguments.keep_dirlinks,
        terminal=arguments.terminal,
        limits=parse_limits(arguments.limit),
        snapshot=arguments.snapshot,
        snapshots=arguments.snapshots,
    )
    index = read_index_bytes(layout) if arguments.snapshot != "none" else b""
    unpacked = unpack_image(layout, reference, arguments.bundle, options)
    for notice in unpacked.notices:
        output.warn(notice)
    manifest = str(unpacked.chain[-1].digest)
    result = {"bundle": unpacked.path, "manifest": manifest, "warnings": list(unpacked.notices)}
    output.result(f"unpacked {manifest} into {unpacked.path}", result)
    if (
        unpacked.snapshot
        and not unpacked.notices
        and not arguments.json
        and arguments.words[-1] == arguments.bundle
    ):
        said = "" if arguments.quiet else f"unpacked {manifest} into \0\n"
        remember(arguments.words, layout, index, unpacked.snapshot, unpacked.path, said)
    return 0
