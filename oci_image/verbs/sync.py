"""oci-image sync: many images from one place to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.syncing import DESTINATIONS, SOURCES, find_images, sync
from oci_image.verbs.copying import add_transfer_options, copy_options, describe_copy
from oci_image.verbs.options import add_registry, registry_options

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "copy many images from one place to another"
DESCRIPTION = """\
Copy every image of a repository, of a directory of images, of a layout, or of a list in a file, to a
registry, a directory or a layout.  The file has the form that skopeo sync reads: for each registry
images (with tags or digests, or none for all tags), images-by-tag-regex, images-by-semver, credentials,
tls-verify and cert-dir.  Exit code 1 if any image could not be copied."""
EXAMPLES = """\
examples:
  oci-image sync --src docker --dest dir registry.example/team/app /media/usb
  oci-image sync --src dir --dest docker /media/usb mirror.example/team
  oci-image sync --src yaml --dest oci --scoped --keep-going images.yml ./layout
  oci-image sync --src docker --dest docker --all --dry-run alpine mirror.example/library"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_registry(parser)
    add_transfer_options(parser)
    parser.add_argument("--src", "-s", choices=SOURCES, required=True, help="the kind of the source")
    parser.add_argument(
        "--dest", "-d", choices=DESTINATIONS, required=True, help="the kind of the destination"
    )
    parser.add_argument("--scoped", action="store_true", help="keep whole names, registry included")
    parser.add_argument("--append-suffix", default="", metavar="TEXT", help="put TEXT behind every tag")
    parser.add_argument(
        "--keep-going", action="store_true", help="go on after an image that cannot be copied"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be copied")
    parser.add_argument("source", metavar="SOURCE", help="[HOST/]PATH[:TAG], a directory or a file")
    parser.add_argument("destination", metavar="DESTINATION", help="HOST/PATH or a directory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    registry = registry_options(arguments)
    images = find_images(arguments.src, arguments.source, registry)
    done = []
    failed = False
    with copy_options(arguments, output) as options:
        for one in sync(
            images, arguments.dest, arguments.destination, options, registry=registry,
            scoped=arguments.scoped, suffix=arguments.append_suffix,
            keep_going=arguments.keep_going, dry_run=arguments.dry_run,
        ):  # fmt: skip
            value = {"source": one.item.source, "destination": one.destination}
            if one.result:
                value |= describe_copy(one.destination, one.result)
            if one.error:
                failed = True
                output.error(f"sync: {one.item.source}: {one.error}", one.error.hint)
                value["error"] = str(one.error)
            done.append(value)
    verb = "would copy" if arguments.dry_run else "copied"
    lines = [f"{verb} {one['source']} to {one['destination']}" for one in done if "error" not in one]
    output.lines(lines, done)
    return 1 if failed else 0
