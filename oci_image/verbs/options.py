"""Options that several verbs have, and numbers as people read them."""

from __future__ import annotations

from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from oci_image.inspecting import ImageDocuments
    from oci_image.model.platform import Platform
    from oci_image.registry.options import RegistryOptions

PLACES = "NAME of the store, oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], dir:DIR, docker://REFERENCE"


def add_store(parser: argparse.ArgumentParser) -> None:
    """--store."""
    parser.add_argument(
        "--store",
        default="",
        metavar="DIRECTORY",
        help="the store, an image layout (default: $OCI_IMAGE_STORE or the user's own)",
    )


def add_any_image(parser: argparse.ArgumentParser) -> None:
    """An image of any place, or by --image as umoci has it."""
    parser.add_argument(
        "--image",
        default="",
        dest="named",
        metavar="IMAGE",
        help="LAYOUT[:TAG|@DIGEST], or a name of the store",
    )
    parser.add_argument("image", nargs="?", default="", metavar="IMAGE", help="which image, of any place")


def any_image(arguments: argparse.Namespace) -> str:
    """The image that `add_any_image` was given, as places are written.  Raises: UsageError, ImageError."""
    from oci_image.locations import locate_image

    if bool(arguments.named) == bool(arguments.image):
        raise UsageError("one image is to be named", hint="as IMAGE, or with --image LAYOUT[:TAG]")
    if arguments.image:
        image: str = arguments.image
        return image
    layout, reference = locate_image(arguments.named, store=arguments.store)
    if reference.digest:
        return f"oci:{layout}@{reference.digest}"
    return f"oci:{layout}:{reference.tag}" if reference.tag else f"oci:{layout}"


def add_one_image(parser: argparse.ArgumentParser, meaning: str = "the image") -> None:
    """An image of the store or a layout, as the last argument or by --image."""
    parser.add_argument(
        "--image", default="", dest="named", metavar="IMAGE", help=f"{meaning}, as LAYOUT[:TAG] too"
    )
    parser.add_argument("image", nargs="?", default="", metavar="IMAGE", help=meaning)


def one_image(arguments: argparse.Namespace) -> str:
    """What `add_one_image` was given; UsageError."""
    if bool(arguments.named) == bool(arguments.image):
        raise UsageError("one image is to be named", hint="as IMAGE, or with --image IMAGE")
    named: str = arguments.named or arguments.image
    return named


def add_changes(parser: argparse.ArgumentParser) -> None:
    """--change, as docker has it."""
    parser.add_argument(
        "--change", "-c", action="append", default=[], metavar="INSTRUCTION",
        help="change the config by an instruction of a Dockerfile, as CMD, ENV, LABEL, USER",
    )  # fmt: skip


def add_platform(parser: argparse.ArgumentParser, meaning: str = "which image of an index") -> None:
    """--platform."""
    parser.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help=f"{meaning} (default: this machine)")


def chosen_platform(arguments: argparse.Namespace) -> Platform | None:
    """The platform that --platform names, or None without it; ImageError."""
    from oci_image.model.platform import parse_platform

    return parse_platform(arguments.platform) if arguments.platform else None


def inspect_any_image(arguments: argparse.Namespace) -> ImageDocuments:
    """Read what `add_any_image`, `add_platform` and `add_registry` name, in the store that `add_store` names.

    Raises: UsageError, ImageError.
    """
    from oci_image.inspecting import inspect_image

    return inspect_image(
        any_image(arguments),
        chosen_platform(arguments),
        store=arguments.store,
        registry=registry_options(arguments),
    )


def add_registry(parser: argparse.ArgumentParser) -> None:
    """How to reach registries."""
    group = parser.add_argument_group("registries")
    group.add_argument("--insecure", action="store_true", help="allow unverified certificates and plain HTTP")
    group.add_argument(
        "--tls-verify", choices=("true", "false"), default="true", help="false: the same as --insecure"
    )
    group.add_argument("--ca-file", default="", metavar="FILE", help="certificates to trust")
    group.add_argument(
        "--cert-dir", default="", metavar="DIR", help="certificates and keys (default: certs.d of the host)"
    )
    group.add_argument(
        "--registries-conf",
        default="",
        metavar="FILE",
        help="mirrors and short names (default: as podman has it)",
    )
    group.add_argument(
        "--hosts-dir", default="", metavar="DIR", help="mirrors as containerd has them (default: its certs.d)"
    )
    group.add_argument(
        "--chunk-size", type=size, default=0, metavar="BYTES", help="send blobs in pieces (default: in one)"
    )
    group.add_argument(
        "--authfile", default="", metavar="FILE", help="credentials (default: $REGISTRY_AUTH_FILE)"
    )
    group.add_argument("--creds", default="", metavar="USER:PASSWORD", help="credentials for this call")


def registry_options(arguments: argparse.Namespace) -> RegistryOptions:
    """The same as the library takes it."""
    from oci_image.registry.options import RegistryOptions

    credentials = None
    user, colon, password = arguments.creds.partition(":")
    if colon:
        from oci_image.registry.credentials import Credentials

        credentials = Credentials(user, password)
    return RegistryOptions(
        insecure=arguments.insecure or arguments.tls_verify == "false",
        ca_file=arguments.ca_file,
        cert_dir=arguments.cert_dir,
        registries_conf=arguments.registries_conf,
        hosts_dir=arguments.hosts_dir,
        chunk_bytes=arguments.chunk_size,
        authfile=arguments.authfile,
        credentials=credentials,
    )


def fill_in(form: str, value: Mapping[str, Any]) -> str:
    """A text with its {keys} replaced, or Go's {{.Key}} and {{json .Key}}; UsageError for one that is not there."""
    import json

    if "{{" in form:
        return _fill_in_go(form, value)
    texts = {key: item if isinstance(item, str) else json.dumps(item) for key, item in value.items()}
    try:
        return form.format_map(texts)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        known = ", ".join(value)
        raise UsageError(f"format refers to {error}, which is not there", hint=f"keys: {known}") from None


def _fill_in_go(form: str, value: Mapping[str, Any]) -> str:
    """The fields of a Go template, which is as much of that language as scripts use."""
    import json

    parts = form.split("{{")
    made = parts[0]
    for part in parts[1:]:
        words, closed, rest = part.partition("}}")
        path = words.split()
        as_json = path[:1] == ["json"]
        if not closed or len(path) != 1 + as_json or not path[-1].startswith("."):
            raise UsageError(f"format has {{{{{part[:40]}, which is not understood", hint="write {{.Key}}")
        found: Any = value
        for key in path[-1].split("."):
            if key and not isinstance(found, dict):
                found = None
            if key and found is not None:
                by_lower = {_plain(name): name for name in found}
                if _plain(key) not in by_lower and found is value:
                    known = ", ".join(value)
                    raise UsageError(f"format refers to {key!r}, which is not there", hint=f"keys: {known}")
                found = found.get(by_lower.get(_plain(key), key))
        made += (found if isinstance(found, str) and not as_json else json.dumps(found)) + rest
    return made


def _plain(key: str) -> str:
    """A key as Go's CreatedBy and our created_by have it in common."""
    return key.lower().replace("_", "")


def size(text: str) -> int:
    """A number of bytes, which may end in k, M or G (powers of 1024)."""
    unit = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(text[-1:].lower(), 1)
    return int(text[:-1] if unit > 1 else text) * unit


def pairs(texts: list[str], kind: str) -> dict[str, str]:
    """Texts NAME=VALUE as a map; UsageError, which calls them by `kind`, for another one."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"invalid {kind} {text!r}", hint="write NAME=VALUE")
        found[name] = value
    return found


def readable_size(size: int) -> str:
    """A number of bytes with a decimal unit, as Docker shows it."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.4g} {units[0]}"
