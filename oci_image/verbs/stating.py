"""oci-image stat: manifest, config and history together."""

from __future__ import annotations

import json

from oci_image.inspecting import read_history
from oci_image.verbs.options import (
    PLACES,
    add_any_image,
    add_platform,
    add_registry,
    add_store,
    inspect_any_image,
    readable_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "show what an image consists of"
DESCRIPTION = f"""\
Show an image's descriptors, sizes and steps; with --json also the whole manifest and config.
Places: {PLACES}."""
EXAMPLES = """\
examples:
  oci-image stat alpine
  oci-image stat --json oci:layout:app
  oci-image stat --image layout:app"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    add_platform(parser)
    add_registry(parser)
    add_any_image(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    image = inspect_any_image(arguments)
    steps = [vars(step) for step in read_history(image)]
    lines = [f"manifest  {image.manifest.digest}  {readable_size(image.manifest.size)}"]
    lines += [f"layer     {layer.digest}  {readable_size(layer.size)}" for layer in image.layers]
    lines.append(f"total     {readable_size(sum(layer.size for layer in image.layers))}, {len(steps)} steps")
    value = {
        "descriptor": image.manifest.to_entry(),
        "manifest": json.loads(image.manifest_bytes),
        "config": image.config,
        "history": steps,
    }
    output.result("\n".join(lines), value)
    return 0
