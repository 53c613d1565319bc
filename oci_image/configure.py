"""Changing what an image says of itself, and making images of nothing."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.model.platform import Platform, host_platform
from oci_image.pack.image import History, ImageDraft, load_draft, new_draft
from oci_image.store.content import Store
from oci_image.value import Value, fresh
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.reference import Reference

# What `clear` takes: the object that has the property, and its name there.  "" is the config's top.
CLEARABLE = {
    "author": ("", "author"),
    "history": ("", "history"),
    "config.user": ("config", "User"),
    "config.exposedports": ("config", "ExposedPorts"),
    "config.env": ("config", "Env"),
    "config.entrypoint": ("config", "Entrypoint"),
    "config.cmd": ("config", "Cmd"),
    "config.volume": ("config", "Volumes"),
    "config.volumes": ("config", "Volumes"),
    "config.label": ("config", "Labels"),
    "config.labels": ("config", "Labels"),
    "config.workingdir": ("config", "WorkingDir"),
    "config.stopsignal": ("config", "StopSignal"),
    "config.healthcheck": ("config", "Healthcheck"),
    "config.onbuild": ("config", "OnBuild"),
    "config.shell": ("config", "Shell"),
    "manifest.annotations": ("manifest", "annotations"),
}


class ConfigChanges(Value):
    """What to change; None and empty values leave a property as it is.

    `clear` comes first and names properties as CLEARABLE has them.  Variables, labels, ports, volumes and
    annotations are added, or replace those of the same name; entrypoint, command, shell and onbuild replace
    the whole list.  `healthcheck` is the object as the config has it, durations in nanoseconds.
    """

    clear: tuple[str, ...] = ()
    user: str | None = None
    working_directory: str | None = None
    stop_signal: str | None = None
    environment: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    onbuild: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = fresh(default_factory=dict)
    healthcheck: dict[str, Any] | None = None
    created: str | None = None
    author: str | None = None
    system: str | None = None
    architecture: str | None = None
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] = ()
    annotations: dict[str, str] = fresh(default_factory=dict)


def configure_image(
    layout: str,
    reference: Reference,
    changes: ConfigChanges,
    *,
    tag: str = "",
    history: History | None = None,
) -> Descriptor:
    """Change the config of an image and tag the result `tag`, or else as the image was.

    Raises: ImageError, IntegrityError, UsageError.
    """
    with Store(layout) as store, store.adding():
        chain = store.resolve(reference, host_platform())
        draft = load_draft(store, chain[-1])
        apply_changes(draft, changes)
        if history is not None:
            draft.add_history(history, empty_layer=True)
        manifest = draft.store(store)
        store.tag(manifest, tag or tag_of(reference))
    return manifest


def create_image(layout: str, tag: str, platform: Platform | None = None) -> Descriptor:
    """Make an image without layers in an existing layout; ImageError if the tag is taken."""
    with Store(layout) as store, store.adding():
        if any((entry.get("annotations") or {}).get(_REF_NAME) == tag for entry in store.entries()):
            raise ImageError(
                f"image layout has an image with tag {tag!r} already", where=layout, hint="remove it first"
            )
        manifest = new_draft(platform or host_platform()).store(store)
        store.tag(manifest, tag)
    return manifest


_REF_NAME = "org.opencontainers.image.ref.name"


def tag_of(reference: Reference) -> str:
    """The tag that a changed image gets if none is named; UsageError for an image by digest."""
    if reference.digest:
        raise UsageError("the changed image needs a tag", hint="name one with --tag")
    return reference.tag or "latest"


def apply_changes(draft: ImageDraft, changes: ConfigChanges) -> None:
    """Change a draft; UsageError for what cannot be."""
    for name in changes.clear:
        if name not in CLEARABLE:
            raise UsageError(f"cannot clear {name!r}", hint=f"known: {', '.join(sorted(CLEARABLE))}")
        place, key = CLEARABLE[name]
        holder = {"": draft.config, "config": draft.settings, "manifest": draft.manifest}[place]
        holder.pop(key, None)
    settings = draft.settings
    _set(settings, {"User": changes.user, "WorkingDir": changes.working_directory})
    _set(settings, {"StopSignal": changes.stop_signal, "Healthcheck": changes.healthcheck})
    if changes.environment:
        settings["Env"] = _merged_environment(settings.get("Env") or [], changes.environment)
    for key, values in (
        ("Entrypoint", changes.entrypoint),
        ("Cmd", changes.command),
        ("Shell", changes.shell),
        ("OnBuild", changes.onbuild),
    ):
        if values:
            settings[key] = list(values)
    ports = [_port(text) for text in changes.exposed_ports]
    for key, names in (("ExposedPorts", ports), ("Volumes", list(changes.volumes))):
        if names:
            settings[key] = {**(settings.get(key) or {}), **{name: {} for name in names}}
    if changes.labels:
        settings["Labels"] = {**(settings.get("Labels") or {}), **changes.labels}
    _set(draft.config, {"created": changes.created, "author": changes.author, "os": changes.system})
    _set(draft.config, {"architecture": changes.architecture, "variant": changes.variant})
    _set(draft.config, {"os.version": changes.os_version})
    if changes.os_features:
        draft.config["os.features"] = list(changes.os_features)
    if changes.annotations:
        draft.manifest["annotations"] = {**(draft.manifest.get("annotations") or {}), **changes.annotations}
    named = [draft.config.get(key) or "" for key in ("os", "architecture", "variant")]
    if draft.platform is not None:
        draft.platform = Platform(*named)


def _set(holder: dict[str, Any], values: dict[str, Any]) -> None:
    holder.update({key: value for key, value in values.items() if value is not None})


def _merged_environment(before: list[str], wanted: tuple[str, ...]) -> list[str]:
    variables = {entry.partition("=")[0]: entry for entry in before}
    for entry in wanted:
        name, equals, _ = entry.partition("=")
        if not name or not equals or "\0" in entry:
            raise UsageError(f"invalid environment entry {entry[:100]!r}", hint="write NAME=VALUE")
        variables[name] = entry
    return list(variables.values())


def _port(text: str) -> str:
    """PORT[/PROTOCOL], with its protocol."""
    number, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    if not number.isdecimal() or not 0 < int(number) < 65536 or protocol not in ("tcp", "udp", "sctp"):
        raise UsageError(f"invalid port {text!r}", hint="write PORT, PORT/tcp, PORT/udp or PORT/sctp")
    return f"{int(number)}/{protocol}"
