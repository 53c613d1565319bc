"""oci-image config: change what an image says of itself."""

from __future__ import annotations

import json

from oci_image.configure import CLEARABLE, ConfigChanges, configure_image
from oci_image.locations import locate_image, tag_in
from oci_image.verbs.options import pairs
from oci_image.verbs.repack import add_history_options, history_of
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from oci_image.cli.output import Output

SUMMARY = "change the config of an image"
DESCRIPTION = """\
Change the config of an image.  Variables, labels, ports, volumes and annotations are added, or replace those
of the same name; entrypoint, command, shell and onbuild replace the whole list, one option for each word (a word
that begins with a hyphen after an equals sign).
Without --tag the image's own tag moves to the result."""
EXAMPLES = """\
examples:
  oci-image config --image layout:app --config.env PATH=/bin --config.cmd sh --config.cmd=-c --config.cmd date
  oci-image config --image layout:app --tag app2 --clear config.entrypoint --config.user 1000:1000
  oci-image config --image layout:app --config.exposedports 8080/tcp --config.label version=2
  oci-image config --image layout:app --config.healthcheck '{"Test": ["CMD", "/bin/check"]}'"""

_ONE = {
    "config.user": "who runs: user, uid, user:group, uid:gid ...",
    "config.workingdir": "the directory that the program starts in",
    "config.stopsignal": "what ends it, as SIGTERM",
    "config.healthcheck": "the object as the config has it, durations in nanoseconds",
    "created": "when the image was made, as 2024-01-02T03:04:05Z",
    "author": "who made it",
    "os.version": "the version of the operating system",
}
_MANY = {
    "config.env": "a variable, NAME=VALUE",
    "config.entrypoint": "a word of the entrypoint",
    "config.cmd": "a word of the command",
    "config.shell": "a word of the shell that shell forms are given to",
    "config.onbuild": "an instruction for builds that begin with this image",
    "config.exposedports": "PORT[/tcp|/udp|/sctp]",
    "config.volume": "a path whose content is not the image's",
    "config.label": "NAME=VALUE",
    "os.feature": "a feature of the operating system",
    "manifest.annotation": "NAME=VALUE, of the manifest",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--image", required=True, metavar="IMAGE", help="the image to change")
    parser.add_argument("--tag", default="", metavar="TAG", help="the tag of the result")
    for name, meaning in _ONE.items():
        parser.add_argument(f"--{name}", dest=name, metavar="VALUE", help=meaning)
    for name, meaning in _MANY.items():
        parser.add_argument(
            f"--{name}",
            dest=name,
            action="append",
            default=[],
            metavar="VALUE",
            help=f"{meaning}; repeatable",
        )
    parser.add_argument("--os", "--platform.os", dest="os", metavar="OS", help="as linux")
    parser.add_argument(
        "--architecture", "--platform.arch", dest="architecture", metavar="ARCH", help="as amd64 or arm64"
    )
    parser.add_argument("--variant", "--platform.variant", dest="variant", metavar="VARIANT", help="as v7")
    parser.add_argument(
        "--clear", action="append", default=[], choices=sorted(CLEARABLE), metavar="PROPERTY",
        help=f"remove a property before anything else: {', '.join(sorted(CLEARABLE))}",
    )  # fmt: skip
    add_history_options(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    given = vars(arguments)
    layout, reference = locate_image(arguments.image)
    changes = ConfigChanges(
        clear=tuple(arguments.clear),
        user=given["config.user"],
        working_directory=given["config.workingdir"],
        stop_signal=given["config.stopsignal"],
        environment=tuple(given["config.env"]),
        entrypoint=tuple(given["config.entrypoint"]),
        command=tuple(given["config.cmd"]),
        shell=tuple(given["config.shell"]),
        onbuild=tuple(given["config.onbuild"]),
        exposed_ports=tuple(given["config.exposedports"]),
        volumes=tuple(given["config.volume"]),
        labels=pairs(given["config.label"], "label"),
        healthcheck=_object(given["config.healthcheck"]),
        created=arguments.created,
        author=arguments.author,
        system=arguments.os,
        architecture=arguments.architecture,
        variant=arguments.variant,
        os_version=given["os.version"],
        os_features=tuple(given["os.feature"]),
        annotations=pairs(given["manifest.annotation"], "annotation"),
    )
    history = history_of(arguments, "oci-image config")
    manifest = configure_image(layout, reference, changes, tag=tag_in(layout, arguments.tag), history=history)
    output.result(f"made {manifest.digest}", {"manifest": str(manifest.digest)})
    return 0


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError("the health check is not a JSON object", hint='write {"Test": ["CMD", "program"]}')
    return value
