"""oci-image build: an image of a Dockerfile."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from oci_image.build.agent import read_agent
from oci_image.build.builder import BuildOptions, build_image
from oci_image.build.mounts import read_secret
from oci_image.build.outputs import BuildOutput, parse_output
from oci_image.build.running import parse_host
from oci_image.transfer import POLICIES
from oci_image.verbs.options import (
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

    from oci_image.build.builder import BuiltImage
    from oci_image.cli.output import Output

SUMMARY = "build an image from a Dockerfile"
DESCRIPTION = """\
Build an image from a Dockerfile, or Containerfile, and put it into the store.  Commands run in containers of
pyruntime, or of any other OCI runtime.  A step that was made before on the same tree, with the same content
and settings, is taken from the cache.  With SOURCE_DATE_EPOCH set, the same input makes the same image."""
EXAMPLES = """\
examples:
  oci-image build -t app .
  oci-image build -t app:test --target test --build-arg VERSION=2 --network none .
  oci-image build -f docker/Containerfile -t registry.example/team/app:1 -t app .
  printf 'FROM app\\nUSER nobody\\n' | oci-image build -t app:safe -f - .
  SOURCE_DATE_EPOCH=0 oci-image build --store ./layout -t app --no-cache .
  oci-image build -t app 'https://git.example/team/app.git#v2:docker'
  oci-image build -t app --ssh default --secret id=token,src=token.txt --build-context lib=../lib .
  oci-image build --target binaries -o ./bin .
  oci-image build -t registry.example/team/app:2 --squash --push .
  oci-image build -o type=oci,dest=app.tar -o type=tar,dest=root.tar -t app ."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    add_store(parser)
    parser.add_argument(
        "--tag", "-t", action="append", default=[], metavar="NAME", help="a name of the image"
    )
    parser.add_argument(
        "--file",
        "-f",
        default="",
        metavar="FILE",
        help="the Dockerfile, - is stdin (default: CONTEXT/Dockerfile)",
    )
    parser.add_argument(
        "--target", default="", metavar="STAGE", help="the stage to build (default: the last)"
    )
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME[=VALUE]",
        help="a build argument; without a value that of the environment",
    )  # fmt: skip
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="add a label")
    _add_inputs(parser)
    _add_outputs(parser)
    parser.add_argument("--no-cache", action="store_true", help="do every step anew")
    parser.add_argument(
        "--pull", nargs="?", const="always", default="missing", choices=POLICIES, metavar="WHEN",
        help="ask registries for base images: missing (default), always, never, newer",
    )  # fmt: skip
    add_platform(parser, "what to build for")
    parser.add_argument(
        "--network", choices=("host", "none"), default="host", help="the network of commands (default: host)"
    )
    parser.add_argument("--compress", choices=["gzip", "zstd", "none"], default="gzip", help="of new layers")
    parser.add_argument("--compress-level", type=int, default=0, metavar="N", help="how hard to compress")
    parser.add_argument("--iidfile", default="", metavar="FILE", help="write the image's id to FILE")
    parser.add_argument(
        "--metadata-file", default="", metavar="FILE", help="write digests and names to FILE, as docker does"
    )
    parser.add_argument(
        "--runtime", default="", metavar="PROGRAM", help="the OCI runtime (default: pyruntime)"
    )
    parser.add_argument("--snapshots", default="", metavar="DIR", help="where trees are prepared and built")
    add_registry(parser)
    parser.add_argument(
        "context", metavar="CONTEXT",
        help="what COPY and ADD copy from: a directory, a git repository URL[#REF[:DIR]], an archive's URL, or -",
    )  # fmt: skip


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=NAME,src=FILE",
        help="what RUN --mount=type=secret sees",
    )
    parser.add_argument(
        "--ssh", action="append", default=[], metavar="default|NAME=SOCKET",
        help="the agent that RUN --mount=type=ssh sees (default: $SSH_AUTH_SOCK)",
    )  # fmt: skip
    parser.add_argument(
        "--build-context", action="append", default=[], metavar="NAME=PLACE",
        help="a directory, URL or image (docker-image://, oci-layout://) that FROM and --from know as NAME",
    )  # fmt: skip


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotation", action="append", default=[], metavar="NAME=VALUE", help="add one to the manifest"
    )
    parser.add_argument(
        "--add-host",
        action="append",
        default=[],
        metavar="NAME:ADDRESS",
        help="add to /etc/hosts of commands",
    )
    parser.add_argument(
        "--output", "-o", action="append", default=[], metavar="DIR|type=TYPE,dest=PATH",
        help="write the image elsewhere too: local, tar, oci, docker, registry; - is a tar to stdout",
    )  # fmt: skip
    parser.add_argument("--push", action="store_true", help="push the image under its names")
    squash = parser.add_mutually_exclusive_group()
    squash.add_argument(
        "--squash", action="store_const", const="new", default="", help="one layer upon those of the base"
    )
    squash.add_argument(
        "--squash-all", action="store_const", const="all", dest="squash", help="one layer of all"
    )
    for name in ("--cache-from", "--cache-to"):
        parser.add_argument(
            name,
            action="append",
            default=[],
            metavar="PLACE",
            help="taken and not used: the cache is the store's",
        )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    quiet = arguments.quiet

    def say(text: str) -> None:
        if not quiet or text.startswith("warning:"):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    if arguments.cache_from or arguments.cache_to:
        say("warning: --cache-from and --cache-to are not used: steps are found in the store, by content")
    outputs, streamed = _outputs(arguments)
    options = BuildOptions(
        dockerfile="/dev/stdin" if arguments.file == "-" else arguments.file,
        tags=tuple(arguments.tag),
        target=arguments.target,
        arguments=_build_arguments(arguments.build_arg),
        labels=_labels(arguments.label),
        annotations=pairs(arguments.annotation, "annotation"),
        hosts=tuple(map(parse_host, arguments.add_host)),
        squash=arguments.squash,
        outputs=outputs,
        stream=sys.stdout.buffer if streamed else None,
        secrets=dict(map(read_secret, arguments.secret)),
        agents=dict(map(read_agent, arguments.ssh)),
        contexts=pairs(arguments.build_context, "build context"),
        stdin=sys.stdin.buffer,
        use_cache=not arguments.no_cache,
        pull=arguments.pull,
        platform=chosen_platform(arguments),
        network=arguments.network,
        compression=arguments.compress,
        level=arguments.compress_level,
        store=arguments.store,
        snapshots=arguments.snapshots,
        runtime=arguments.runtime,
        registry=registry_options(arguments),
        output_fd=-1 if quiet else sys.stderr.fileno(),
        say=say,
    )
    built = build_image(arguments.context, options)
    if arguments.iidfile:
        output.write_file(arguments.iidfile, str(built.config))
    if arguments.metadata_file:
        output.write_file(arguments.metadata_file, json.dumps(_metadata(built), indent=2) + "\n")
    if not streamed:
        _show(output, built, only_id=quiet and not arguments.json)
    return 0


def _outputs(arguments: argparse.Namespace) -> tuple[tuple[BuildOutput, ...], bool]:
    """The outputs that are asked for, and whether one of them is standard output."""
    outputs = tuple(map(parse_output, arguments.output))
    streamed = sum(each.is_stream for each in outputs)
    if streamed > 1:
        raise UsageError("only one output can be written to standard output")
    if streamed and sys.stdout.isatty():
        raise UsageError("an archive is not written to a terminal", hint="write dest=FILE, or redirect it")
    return outputs + (BuildOutput("registry", push=True),) * arguments.push, bool(streamed)


def _show(output: Output, built: BuiltImage, *, only_id: bool) -> None:
    if only_id:
        sys.stdout.write(f"{built.config}\n")  # as docker has it, for scripts
        return
    output.result(
        f"built {built.manifest.digest}" + "".join(f"\ntagged {name}" for name in built.names),
        {"manifest": str(built.manifest.digest), "id": str(built.config), "names": list(built.names)},
    )


def _metadata(built: BuiltImage) -> dict[str, str]:
    found = {
        "containerimage.config.digest": str(built.config),
        "containerimage.digest": str(built.manifest.digest),
    }
    return found | ({"image.name": ",".join(built.names)} if built.names else {})


def _build_arguments(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"invalid build argument {text!r}", hint="write NAME=VALUE")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _labels(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    return {name: value for name, _, value in pairs}
