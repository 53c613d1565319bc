"""oci-image history: the steps an image was made in."""

from __future__ import annotations

from oci_image.inspecting import read_history
from oci_image.verbs.options import (
    PLACES,
    add_any_image,
    add_platform,
    add_registry,
    add_store,
    fill_in,
    inspect_any_image,
    readable_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "show how an image was made"
DESCRIPTION = f"""\
Show the steps an image was made in, newest first, with the sizes of the layers as they are stored.
Places: {PLACES}."""
EXAMPLES = """\
examples:
  oci-image history alpine
  oci-image history --no-trunc oci:layout:app
  oci-image history --json docker-archive:saved.tar"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    add_platform(parser)
    add_registry(parser)
    parser.add_argument("--no-trunc", action="store_true", help="show whole commands")
    parser.add_argument(
        "--format",
        default="",
        metavar="TEXT",
        help="a line for each step, with {created_by}, {created}, {size}",
    )
    add_any_image(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    image = inspect_any_image(arguments)
    steps = read_history(image)[::-1]
    if arguments.format:
        output.lines(
            [fill_in(arguments.format, dict(vars(step))) for step in steps],
            [dict(vars(step)) for step in steps],
        )
        return 0
    lines = [f"{'CREATED':<20} {'SIZE':>9}  CREATED BY"]
    for step in steps:
        command = " ".join(step.created_by.split()) or step.comment
        shown = command if arguments.no_trunc or len(command) <= 70 else command[:69] + "…"
        lines.append(
            f"{step.created[:19] or '<missing>':<20} {readable_size(step.size):>9}  {shown}".rstrip()
        )
    output.result("\n".join(lines), [vars(step) for step in steps])
    return 0
