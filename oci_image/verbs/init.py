"""oci-image init: an empty layout."""

from __future__ import annotations

from oci_image.store.content import create_layout
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "make an empty image layout"
DESCRIPTION = "Make an empty OCI image layout of a directory that is not there yet, or is empty."
EXAMPLES = """\
example:
  oci-image init --layout images"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--layout", default="", metavar="DIR", help="the layout's directory, as umoci has it")
    parser.add_argument("directory", nargs="?", default="", metavar="DIR", help="the layout's directory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    if bool(arguments.layout) == bool(arguments.directory):
        raise UsageError("one directory is to be named", hint="as DIR, or with --layout DIR")
    layout = arguments.layout or arguments.directory
    create_layout(layout, exist_ok=False)
    output.result(f"made {layout}", {"layout": layout})
    return 0
