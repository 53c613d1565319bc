"""oci-image repack: what has changed in a bundle becomes a layer."""

from __future__ import annotations

from oci_image.layers.limits import parse_limits
from oci_image.locations import locate_image
from oci_image.pack.image import History
from oci_image.repack import RepackOptions, repack_bundle
from oci_image.verbs.options import add_changes, add_one_image, one_image
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "pack what has changed in a bundle into a new layer"
DESCRIPTION = """\
Compare a bundle's root file system with the image that it was unpacked from, in attributes and content,
and put the difference on top of that image as one layer.  The new image gets the tag that --image names.
With SOURCE_DATE_EPOCH set, the same changes always make the same image."""
EXAMPLES = """\
examples:
  oci-image repack --image layout:changed bundle
  oci-image commit bundle registry.example/team/app:2
  oci-image commit -c 'CMD ["serve"]' -m "with certificates" bundle app:2
  oci-image repack --image layout:changed --compress zstd --compress-level 9 bundle
  SOURCE_DATE_EPOCH=0 oci-image repack --image layout:changed --mask-path /var/cache bundle"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument(
        "--compress",
        choices=["auto", "gzip", "zstd", "none"],
        default="auto",
        help="the layer's compression (default: that of the image's last layer)",
    )
    parser.add_argument("--compress-level", type=int, default=0, metavar="N", help="how hard to compress")
    parser.add_argument(
        "--mask-path", action="append", default=[], metavar="PATH", help="take nothing below PATH for changed"
    )
    parser.add_argument("--no-mask-volumes", action="store_true", help="pack the image's volumes too")
    parser.add_argument(
        "--refresh-bundle", action="store_true", help="let the bundle be one of the new image from now on"
    )
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help="as for unpack")
    add_history_options(parser)
    add_changes(parser)
    parser.add_argument("--author", "-a", default="", metavar="TEXT", help="the image's author")
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's directory")
    add_one_image(parser, "where the new image goes")


def add_history_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that adds to an image's history."""
    for name in ("author", "comment", "created", "created_by"):
        names = (f"--history.{name}", *(("--message", "-m") if name == "comment" else ()))
        parser.add_argument(*names, dest=f"history_{name}", default="", metavar="TEXT")
    parser.add_argument("--no-history", action="store_true", help="do not note the change in the history")


def history_of(arguments: argparse.Namespace, created_by: str) -> History | None:
    """The entry that the options ask for."""
    if arguments.no_history:
        return None
    return History(
        arguments.history_created,
        arguments.history_created_by or created_by,
        arguments.history_author,
        arguments.history_comment,
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    layout, reference = locate_image(one_image(arguments), new=True)
    if reference.digest:
        raise UsageError("the new image needs a tag, not a digest")
    options = RepackOptions(
        compression=arguments.compress,
        level=arguments.compress_level,
        mask_paths=tuple(arguments.mask_path),
        mask_volumes=not arguments.no_mask_volumes,
        refresh=arguments.refresh_bundle,
        history=history_of(arguments, "oci-image repack"),
        limits=parse_limits(arguments.limit),
        changes=tuple(arguments.change),
        author=arguments.author,
    )
    tag = reference.tag or "latest"
    packed = repack_bundle(layout, tag, arguments.bundle, options)
    for path in packed.skipped:
        output.warn(f"socket {path} is not packed")
    manifest = str(packed.manifest.digest)
    layer = packed.layer.to_json() if packed.layer else None
    changes = packed.changes
    count = len(changes.added) + len(changes.changed) + len(changes.removed)
    output.result(
        f"packed {count} changes into {manifest}" if layer else f"nothing has changed: tagged {manifest}",
        {"manifest": manifest, "tag": tag, "layer": layer, "added": list(changes.added),
         "changed": list(changes.changed), "removed": list(changes.removed)},
    )  # fmt: skip
    return 0
