"""oci-image completion: completion of command lines in a shell."""

from __future__ import annotations

from oci_image.cli.completion import SHELLS, completion_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "print completion data for a shell"
DESCRIPTION = "Print what a shell needs to complete command lines of oci-image: verbs, options and images."
EXAMPLES = """\
examples:
  source <(oci-image completion bash)
  oci-image completion zsh > ~/.zsh/completion-oci-image
  oci-image completion fish > ~/.config/fish/completions/oci-image.fish"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    from oci_image.cli.main import whole_parser

    output.raw(completion_script(arguments.shell, whole_parser()).encode())
    return 0
