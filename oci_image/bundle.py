"""From an image's config to a runtime's config.json.

Source: image-spec conversion.md.
"""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.runtime_config import DEFAULT_PATH, default_runtime_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.accounts import User
    from oci_image.layers.ownership import IdMap
    from oci_image.model.image_config import ImageConfig

_PREFIX = "org.opencontainers.image."


def make_runtime_config(
    image: ImageConfig,
    user: User,
    *,
    user_namespace: bool,
    uid_map: IdMap,
    gid_map: IdMap,
    terminal: bool = False,
) -> dict[str, Any]:
    """The config.json of a container that runs the image as `user`, who was resolved in its root."""
    config = default_runtime_config(user_namespace=user_namespace, uid_map=uid_map, gid_map=gid_map)
    process = config["process"]
    process["terminal"] = terminal
    process["user"] = {"uid": user.uid, "gid": user.gid}
    if user.additional_gids:
        process["user"]["additionalGids"] = list(user.additional_gids)
    process["env"] = _environment(image.environment)
    if arguments := [*image.entrypoint, *image.command]:
        process["args"] = arguments
    process["cwd"] = _working_directory(image.working_directory)
    if annotations := _annotations(image):
        config["annotations"] = annotations
    return config


def _environment(entries: tuple[str, ...]) -> list[str]:
    """The image's variables, the last one of a name; PATH and TERM only where the image has none."""
    variables: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        # An entry without '=' made other tools copy the variable of the host.
        if not name or not equals or "\0" in entry:
            raise ImageError(f"invalid environment entry {entry[:100]!r} in the image's config")
        variables[name] = value
    variables = {"PATH": DEFAULT_PATH, "TERM": "xterm", **variables}
    return [f"{name}={value}" for name, value in variables.items()]


def _working_directory(text: str) -> str:
    if "\0" in text:
        raise ImageError("working directory in the image's config has a zero byte")
    return text if text.startswith("/") else f"/{text}"


def _annotations(image: ImageConfig) -> dict[str, str]:
    """The annotations that the image's properties imply; its labels win over them."""
    implied = {
        "os": image.platform.os,
        "architecture": image.platform.architecture,
        "variant": image.platform.variant,
        "os.version": image.os_version,
        "os.features": ",".join(image.os_features),
        "author": image.author,
        "created": image.created,
        "stopSignal": image.stop_signal,
        "exposedPorts": ",".join(image.exposed_ports),
    }
    found = {_PREFIX + name: value for name, value in implied.items() if value}
    return {**found, **image.labels}
