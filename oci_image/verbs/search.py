"""oci-image search: repositories by name."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from oci_image.model.registry_reference import split_host
from oci_image.registry.searching import search_repositories
from oci_image.verbs.options import add_registry, fill_in, registry_options

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "search a registry for repositories"
DESCRIPTION = """\
Search a registry for repositories, Docker Hub if no other is named.  Registries without a search of
their own are asked for their catalog, in which the term is looked for."""
EXAMPLES = """\
examples:
  oci-image search busybox
  oci-image search --limit 5 --stars 10 registry.example/busybox
  oci-image search --json --official yes python"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_registry(parser)
    parser.add_argument("--limit", type=int, default=25, metavar="N", help="results at most (default: 25)")
    parser.add_argument("--stars", type=int, default=0, metavar="N", help="only with so many stars")
    parser.add_argument("--official", choices=("yes", "no"), help="only official ones, or none of them")
    parser.add_argument("--no-trunc", action="store_true", help="show whole descriptions")
    parser.add_argument(
        "--format", default="", metavar="TEXT", help="a line for each, with {name}, {stars} ..."
    )
    parser.add_argument("term", metavar="[HOST/]TERM", help="a part of the name")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    host, term = split_host(arguments.term)
    found = search_repositories(
        term,
        host,
        registry_options(arguments),
        limit=arguments.limit,
        stars=arguments.stars,
        official=None if arguments.official is None else arguments.official == "yes",
    )
    values = [asdict(one) for one in found]
    if arguments.format:
        output.lines([fill_in(arguments.format, value) for value in values], values)
        return 0
    width = max([len(one.name) for one in found] + [4])
    lines = [f"{'NAME':{width}}  {'STARS':>5}  OFFICIAL  DESCRIPTION"]
    for one in found:
        about = one.description if arguments.no_trunc else one.description[:60]
        lines.append(
            f"{one.name:{width}}  {one.stars:5}  {'yes' if one.official else '':8}  {about}".rstrip()
        )
    output.result("\n".join(lines), values)
    return 0
