"""oci-image list: the images of a store."""

from __future__ import annotations

from oci_image.store.content import Store, default_store_path
from oci_image.store.filters import FILTERS, filter_images
from oci_image.store.summary import ImageSummary, list_images
from oci_image.verbs.options import add_store, fill_in, readable_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "list the images of a store"
DESCRIPTION = f"""\
List the images of a store: name, digest, when it was made, and the bytes of its blobs; with --quiet the
digests alone.
Filters: {", ".join(FILTERS)}; an image must pass all of them."""
EXAMPLES = """\
examples:
  oci-image list
  oci-image list --store ./layout --json
  oci-image list --filter reference='*/team/*' --filter label=stage=test
  oci-image list --filter dangling=true --format '{digest}'
  oci-image rm $(oci-image images -q --filter dangling=true)"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument(
        "--digests", "--no-trunc", action="store_true", dest="digests", help="show whole digests"
    )
    parser.add_argument(
        "--filter",
        "-f",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only these; may be repeated",
    )
    parser.add_argument(
        "--format",
        default="",
        metavar="TEXT",
        help="a line for each, with {name}, {repository}, {tag}, {digest}, {id}, {created}, {size}",
    )
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="only these, with wildcards")


def _parts(image: ImageSummary) -> dict[str, str]:
    """What docker's formats call the parts of a name, and the id."""
    name = image.name
    repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    return {
        "repository": repository or "<none>",
        "tag": tag or "<none>",
        "id": image.digest.partition(":")[2][:12],
    }


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    filters = arguments.filter + [f"reference={arguments.name}"] * bool(arguments.name)
    with Store.open(arguments.store or default_store_path(), create=not arguments.store) as store:
        images = filter_images(list_images(store), filters)
    if arguments.quiet:
        output.ids(
            list(dict.fromkeys(image.digest for image in images)), [image.to_json() for image in images]
        )
        return 0
    if arguments.format:
        lines = [fill_in(arguments.format, image.to_json() | _parts(image)) for image in images]
        output.lines(lines, [image.to_json() for image in images])
        return 0
    rows = [("NAME", "DIGEST", "CREATED", "SIZE")]
    for image in images:
        digest = image.digest if arguments.digests else image.digest.partition(":")[2][:12]
        rows.append((image.name or "<none>", digest, image.created[:19] or "-", readable_size(image.size)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    output.result("\n".join(lines), [image.to_json() for image in images])
    return 0
