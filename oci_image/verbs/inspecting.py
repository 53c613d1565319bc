"""oci-image inspect: an image's documents, as they are or in short."""

from __future__ import annotations

import json

from oci_image.inspecting import describe_image, inspect_image, read_raw_manifest
from oci_image.verbs.options import (
    PLACES,
    add_platform,
    add_registry,
    add_store,
    chosen_platform,
    fill_in,
    registry_options,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "show an image's manifest, config or summary"
DESCRIPTION = f"""\
Show a summary of an image with the keys of skopeo, or with --raw the manifest or index, or with
--config the config; --config --raw prints the config's own bytes.
Places: {PLACES}."""
EXAMPLES = """\
examples:
  oci-image inspect alpine
  oci-image inspect --raw oci:layout:app
  oci-image inspect --config --platform linux/arm64 oci:layout:app
  oci-image inspect --format '{Digest} {Architecture}' docker-archive:saved.tar"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    add_platform(parser)
    add_registry(parser)
    parser.add_argument("--raw", action="store_true", help="print the exact bytes of the manifest or index")
    parser.add_argument("--config", action="store_true", help="print the config")
    parser.add_argument(
        "--format", default="", metavar="TEXT", help="text with {Key} for keys of the summary"
    )
    parser.add_argument("image", metavar="IMAGE", help="which image")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    registry = registry_options(arguments)
    if arguments.raw and not arguments.config:
        output.raw(read_raw_manifest(arguments.image, store=arguments.store, registry=registry))
        return 0
    platform = chosen_platform(arguments)
    image = inspect_image(arguments.image, platform, store=arguments.store, registry=registry)
    if arguments.config and arguments.raw:
        output.raw(image.config_bytes)
        return 0
    value = image.config if arguments.config else describe_image(image, arguments.image)
    if arguments.format:
        output.result(fill_in(arguments.format, value), value)
        return 0
    output.result(json.dumps(value, indent=4), value)
    return 0
