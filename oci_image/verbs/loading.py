"""oci-image load: the images of an archive into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.copying import CopyOptions, copy_image
from oci_image.model.reference import Reference
from oci_image.model.registry_reference import full_name
from oci_image.store.content import default_store_path
from oci_image.transports.archive_source import ArchiveSource
from oci_image.transports.layout import LayoutDestination
from oci_image.verbs.options import add_store

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "load the images of an archive"
DESCRIPTION = """\
Load every image of an archive that docker, podman, skopeo or oci-image saved, plain or compressed, into
the store.  A name that is taken moves to the loaded image, and the output says so."""
EXAMPLES = """\
examples:
  oci-image load -i images.tar
  oci-image load --store ./layout -i images.tar.gz"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument("--input", "-i", required=True, metavar="FILE", help="the archive")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    first = ArchiveSource(arguments.input, Reference())
    try:
        wanted = [*first.names()] or [f"@{entry.digest}" for entry in first.entries()]
        digests = {f"@{entry.digest}": entry.digest for entry in first.entries()}
    finally:
        first.close()
    loaded = {}
    for name in wanted:
        reference = Reference(digest=digests[name]) if name in digests else Reference(tag=name)
        final = "" if name in digests else name if arguments.store else full_name(name)
        source = ArchiveSource(arguments.input, reference)
        destination = LayoutDestination(arguments.store or default_store_path(), final)
        try:
            result = copy_image(source, destination, CopyOptions(every_platform=True))
            destination.commit()
        finally:
            destination.close()
            source.close()
        loaded[final or str(result.root.digest)] = str(result.root.digest)
    lines = [f"Loaded image{' ID' if name == digest else ''}: {name}" for name, digest in loaded.items()]
    output.result("\n".join(lines), loaded)
    return 0
