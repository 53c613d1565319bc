"""oci-image manifest: indexes, which are one name for the images of several platforms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from oci_image.copying import CopyOptions
from oci_image.indexes import (
    EntryChanges,
    add_to_index,
    annotate_entry,
    annotate_index,
    create_index,
    read_index,
    remove_from_index,
)
from oci_image.transfer import push
from oci_image.verbs.options import (
    PLACES,
    add_platform,
    add_registry,
    add_store,
    chosen_platform,
    pairs,
    registry_options,
)
from pyruntime.base.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output
    from oci_image.model.descriptor import Descriptor

ACTIONS = ("create", "add", "annotate", "remove", "inspect", "push")
SUMMARY = "make and change an index of several images"
DESCRIPTION = f"""\
  create NAME [IMAGE ...]        make an index in the store, of images at any place
  add NAME IMAGE                 add an image; --os, --arch and so on say what it is for
  annotate NAME [ENTRY]          set the platform and annotations of an entry, or annotations of the index
  remove NAME ENTRY              take an entry out
  inspect NAME                   show it
  push NAME [REFERENCE]          push it with all of its images

An ENTRY is a digest, the begin of one, or OS/ARCH[/VARIANT].
Places of images: {PLACES}."""
EXAMPLES = """\
examples:
  oci-image manifest create registry.example/app:1 app:amd64 docker://registry.example/app:arm64
  oci-image manifest add --os linux --arch riscv64 registry.example/app:1 oci:layout:riscv
  oci-image manifest annotate --variant v8 registry.example/app:1 linux/arm64
  oci-image manifest annotate --annotation maintainer=me registry.example/app:1
  oci-image manifest push registry.example/app:1"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    add_registry(parser)
    add_platform(parser)
    parser.add_argument("--all", "-a", action="store_true", help="add all images of an index")
    parser.add_argument("--amend", action="store_true", help="create: replace what has the name")
    parser.add_argument("--docker", action="store_true", help="create: a manifest list in Docker's form")
    parser.add_argument("--os", default="", help="operating system of the entry")
    parser.add_argument("--arch", default="", help="its architecture")
    parser.add_argument("--variant", default="", help="its variant")
    parser.add_argument(
        "--os-version", default="", metavar="TEXT", help="its version of the operating system"
    )
    parser.add_argument("--os-features", action="append", default=[], metavar="TEXT", help="may be repeated")
    parser.add_argument(
        "--annotation",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="may be repeated; NAME= removes",
    )
    parser.add_argument("action", metavar="ACTION", choices=ACTIONS, help=", ".join(ACTIONS))
    parser.add_argument("name", metavar="NAME", help="the index's name in the store")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="what goes into it, or is meant of it")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    most = {"create": None, "inspect": 0}.get(arguments.action, 1)
    least = 1 if arguments.action in ("add", "remove") else 0
    if not least <= len(arguments.images) or (most is not None and len(arguments.images) > most):
        raise UsageError(f"manifest {arguments.action} takes another number of arguments", hint="see --help")
    if arguments.action == "inspect":
        document = read_index(arguments.name, store=arguments.store)
        output.result(json.dumps(document, indent=4), document)
        return 0
    digest = str(_change(arguments).digest)
    text = f"{arguments.name}: digest: {digest}"
    output.result(text, {"name": arguments.name, "digest": digest})
    return 0


def _change(arguments: argparse.Namespace) -> Descriptor:
    name, store, registry = arguments.name, arguments.store, registry_options(arguments)
    platform = chosen_platform(arguments)
    annotations = pairs(arguments.annotation, "annotation")
    changes = EntryChanges(
        arguments.os, arguments.arch, arguments.variant, arguments.os_version,
        tuple(arguments.os_features), annotations,
    )  # fmt: skip
    if arguments.action == "create":
        return create_index(
            name, arguments.images, store=store, registry=registry, whole=arguments.all,
            annotations=annotations, docker=arguments.docker, replace_existing=arguments.amend,
        )  # fmt: skip
    if arguments.action == "push":
        options = CopyOptions(every_platform=True)
        return push(name, "".join(arguments.images), options, store=store, registry=registry).root
    if arguments.action == "annotate" and not arguments.images:
        return annotate_index(name, annotations, store=store)
    (image,) = arguments.images
    if arguments.action == "add":
        return add_to_index(
            name, image, changes, store=store, registry=registry, whole=arguments.all, platform=platform
        )
    if arguments.action == "annotate":
        return annotate_entry(name, image, changes, store=store)
    return remove_from_index(name, image, store=store)
