"""oci-image copy: images from any place to any other."""

from __future__ import annotations

from contextlib import contextmanager

from oci_image.cli.progress import Progress
from oci_image.copying import CopyOptions
from oci_image.transfer import copy
from oci_image.verbs.options import (
    PLACES,
    add_platform,
    add_registry,
    add_store,
    chosen_platform,
    registry_options,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

    from oci_image.cli.output import Output
    from oci_image.copying import CopyResult

SUMMARY = "copy an image from one place to another"
DESCRIPTION = f"""\
Copy an image.  Its bytes and digests stay as they are unless --format asks for a conversion.
Places: {PLACES}."""
EXAMPLES = """\
examples:
  oci-image copy --all docker://alpine:3.20 docker://registry.example/alpine:3.20
  oci-image copy docker-archive:saved.tar oci:layout:app
  oci-image copy --all oci:layout:app oci-archive:app.tar:app
  oci-image copy oci:layout@0 dir:/tmp/first
  oci-image copy --format docker alpine dir:/tmp/alpine"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_copy_options(parser)
    parser.add_argument("source", metavar="SOURCE", help="where the image is")
    parser.add_argument("destination", metavar="DESTINATION", help="where it is to be")


def add_copy_options(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that copies."""
    add_store(parser)
    add_registry(parser)
    add_transfer_options(parser)


def add_transfer_options(parser: argparse.ArgumentParser) -> None:
    """What is copied of an image, and how."""
    add_platform(parser)
    parser.add_argument("--all", "-a", action="store_true", help="copy an index with all of its platforms")
    parser.add_argument("--format", choices=("oci", "docker"), default="", help="convert the documents")
    parser.add_argument(
        "--preserve-digests",
        action="store_true",
        help="fail if a registry refuses the form, instead of converting",
    )
    parser.add_argument("--referrers", action="store_true", help="copy signatures and other referrers too")
    parser.add_argument("--jobs", type=int, default=6, metavar="N", help="blobs at a time (default: 6)")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    with copy_options(arguments, output) as options:
        result = copy(
            arguments.source,
            arguments.destination,
            options,
            store=arguments.store,
            registry=registry_options(arguments),
        )
    show_copy(output, arguments.destination, result)
    return 0


@contextmanager
def copy_options(arguments: argparse.Namespace, output: Output) -> Iterator[CopyOptions]:
    """The same as the library takes it; progress is shown until the block ends."""
    progress = Progress(quiet=arguments.quiet or arguments.json)
    try:
        yield CopyOptions(
            platform=chosen_platform(arguments),
            every_platform=arguments.all,
            form=arguments.format,
            keep_digests=arguments.preserve_digests,
            referrers=arguments.referrers,
            jobs=arguments.jobs,
            progress=progress.advance,
            warn=output.warn,
        )
    finally:
        progress.finish()


def show_copy(output: Output, name: str, result: CopyResult) -> None:
    """Print what was copied."""
    text = f"{name}: digest: {result.root.digest} size: {result.root.size}"
    output.result(text, describe_copy(name, result))


def describe_copy(name: str, result: CopyResult) -> dict[str, Any]:
    """What was copied, as data."""
    return {
        "digest": str(result.root.digest),
        "mediaType": result.root.media_type,
        "name": name,
        "copied": result.copied,
        "present": result.present,
        "bytes": result.size,
    }
