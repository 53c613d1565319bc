"""oci-image copy: images from any place to any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.cli.progress import Progress
from oci_image.copying import CopyOptions, copy_image
from oci_image.locations import open_destination, open_source
from oci_image.model.platform import parse_platform
from oci_image.verbs.options import PLACES, add_platform, add_registry, add_store, registry_options

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "copy an image from one place to another"
DESCRIPTION = f"""\
Copy an image.  Its bytes and digests stay as they are unless --format asks for a conversion.
Places: {PLACES}."""
EXAMPLES = """\
examples:
  oci-image copy --all docker://alpine:3.20 docker://registry.example/alpine:3.20
  oci-image copy docker-archive:saved.tar oci:layout:app
  oci-image copy --all oci:layout:app oci-archive:app.tar:app
  oci-image copy --format docker alpine dir:/tmp/alpine"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_copy_options(parser)
    parser.add_argument("source", metavar="SOURCE", help="where the image is")
    parser.add_argument("destination", metavar="DESTINATION", help="where it is to be")


def add_copy_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that copies."""
    add_store(parser)
    add_platform(parser)
    add_registry(parser)
    parser.add_argument("--all", "-a", action="store_true", help="copy an index with all of its platforms")
    parser.add_argument("--format", choices=("oci", "docker"), default="", help="convert the documents")
    parser.add_argument("--referrers", action="store_true", help="copy signatures and other referrers too")
    parser.add_argument("--jobs", type=int, default=6, metavar="N", help="blobs at a time (default: 6)")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    copy(arguments, output, arguments.source, arguments.destination)
    return 0


def copy(
    arguments: argparse.Namespace,
    output: Output,
    source_text: str,
    destination_text: str,
    mount_from: str = "",
) -> None:
    """Copy, show how far it is, and print the result."""
    progress = Progress(quiet=arguments.quiet or arguments.json)
    options = CopyOptions(
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        every_platform=arguments.all,
        form=arguments.format,
        referrers=arguments.referrers,
        jobs=arguments.jobs,
        progress=progress.advance,
    )
    registry = registry_options(arguments)
    source = open_source(source_text, store=arguments.store, registry=registry)
    try:
        destination = open_destination(
            destination_text, store=arguments.store, registry=registry, mount_from=mount_from
        )
        try:
            result = copy_image(source, destination, options)
            destination.commit()
        finally:
            destination.close()
    finally:
        source.close()
        progress.finish()
    digest = str(result.root.digest)
    value = {
        "digest": digest,
        "mediaType": result.root.media_type,
        "name": destination_text,
        "copied": result.copied,
        "present": result.present,
        "bytes": result.size,
    }
    output.result(f"{destination_text}: digest: {digest} size: {result.root.size}", value)
