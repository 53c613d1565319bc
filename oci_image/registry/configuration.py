"""registries.conf: which hosts serve a repository, what short names mean, and what is blocked.

Source: containers-registries.conf(5), version 2, and containers-registries.conf.d(5).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import (
    DOCKER_HUB,
    RegistryReference,
    parse_registry_reference,
    split_host,
)
from oci_image.value import Value
from pyruntime.base.errors import UsageError, errno_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_PULLS = ("all", "digest-only", "tag-only")
# A table or an array `registry`, or `registries` of version 1; an alias of that name is neither.
_TABLE = re.compile(rb"""^\s*(?:\[+\s*["']?registr|["']?registry["']?\s*=\s*[\[{])""", re.MULTILINE)
_MODES = ("enforcing", "permissive", "disabled")


class Endpoint(Value):
    """Where an image may be had: its name there, and whether TLS need not be verified.

    `root` is what stands before the name in URLs, "" for what is usual.  A mirror is told by `namespace` which
    registry is meant.  `ca_files`, `clients` (certificates and keys) and `headers` are for this place alone.
    """

    reference: RegistryReference
    insecure: bool = False
    root: str = ""
    namespace: str = ""
    ca_files: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class _Place(Value):
    location: str
    insecure: bool
    pulls: str = "all"


class _Entry(Value):
    prefix: str
    place: _Place
    mirrors: tuple[_Place, ...]
    blocked: bool


class Registries(Value):
    """What the files say; without files every name means what it says."""

    entries: tuple[_Entry, ...] = ()
    unqualified: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    short_name_mode: str = "permissive"

    def endpoints(self, reference: RegistryReference) -> tuple[Endpoint, ...]:
        """Where to pull an image from: mirrors in their order, the registry itself last.

        Raises: RegistryError if the registry is blocked.
        """
        entry = self._entry_for(reference)
        if entry is None:
            return (Endpoint(reference),)
        kind = "digest-only" if reference.digest else "tag-only"
        places = [mirror for mirror in entry.mirrors if mirror.pulls in ("all", kind)]
        return tuple(
            Endpoint(_moved(reference, entry.prefix, place.location), place.insecure)
            for place in (*places, entry.place)
        )

    def is_insecure(self, reference: RegistryReference) -> bool:
        """Whether TLS need not be verified when pushing there; RegistryError if the registry is blocked."""
        entry = self._entry_for(reference)
        return entry is not None and entry.place.insecure

    def _entry_for(self, reference: RegistryReference) -> _Entry | None:
        name = f"{reference.host}/{reference.repository}"
        found = [entry for entry in self.entries if _matched_length(entry.prefix, name)]
        if not found:
            return None
        entry = max(found, key=lambda entry: len(entry.prefix))
        if entry.blocked:
            raise RegistryError(
                f"registry {entry.prefix} is blocked in registries.conf", where=str(reference)
            )
        return entry

    def candidates(self, text: str) -> tuple[RegistryReference, ...]:
        """What a name that a person wrote may mean, in the order to try; one with a host means itself.

        Raises: UsageError if it is no name, or means several and the configuration forbids to try them.
        """
        whole = parse_registry_reference(text)
        host, _ = split_host(text.partition("@")[0])
        if host != DOCKER_HUB or text.startswith((f"{DOCKER_HUB}/", "index.docker.io/")):
            return (whole,)
        path = text.partition("@")[0].partition(":")[0]
        rest = text[len(path) :]
        if target := dict(self.aliases).get(path):
            return (parse_registry_reference(target + rest),)
        if not self.unqualified:
            return (whole,)
        found = tuple(parse_registry_reference(f"{host}/{path}{rest}") for host in self.unqualified)
        if self.short_name_mode == "enforcing" and len(found) > 1:
            choices = ", ".join(map(str, found))
            raise UsageError(f"short name {text!r} may mean several images", hint=f"write one of: {choices}")
        return found


def load_registries(path: str = "", *, short_names: bool = True) -> Registries:
    """Read registries.conf and its drop-ins, or `path` alone.

    Without `short_names`, files that have nothing else are passed over: every system has one with hundreds of
    aliases, and what reads TOML takes longer to load than a small image to pull.

    Raises: RegistryError if a file cannot be read or is not what it should be.
    """
    registries = Registries()
    for name in _files(path):
        data = _read(name)
        if short_names or _TABLE.search(data):
            registries = _merged(registries, _decode(data, name), name)
    return registries


def _files(path: str) -> Iterable[str]:
    """The main file, then the drop-ins in the order in which later ones win."""
    named = path or os.environ.get("CONTAINERS_REGISTRIES_CONF", "")
    if named:
        return [named]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = os.path.join(home, "containers/registries.conf")
    main = own if os.path.exists(own) else "/etc/containers/registries.conf"
    folders = ("/etc/containers/registries.conf.d", f"{own}.d")
    return [main] * os.path.exists(main) + [name for folder in folders for name in _drop_ins(folder)]


def _drop_ins(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(".conf")]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as source:
            return source.read()
    except OSError as error:
        raise RegistryError(f"cannot read: {errno_text(error.errno or 0)}", where=path) from None


def _decode(data: bytes, path: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise RegistryError(f"not valid TOML: {error}", where=path) from None


def _merged(before: Registries, document: dict[str, Any], path: str) -> Registries:
    """What both say; a file that is read later wins entry by entry."""
    if "registries" in document:
        raise RegistryError(
            "version 1 of registries.conf is not supported", where=path, hint="write [[registry]] tables"
        )
    entries = {entry.prefix: entry for entry in before.entries}
    for table in _tables(document, "registry", path):
        entry = _decode_entry(table, path)
        entries[entry.prefix] = entry
    aliases = dict(before.aliases)
    for name, target in (document.get("aliases") or {}).items():
        if target:
            aliases[str(name)] = str(target)
        else:
            aliases.pop(str(name), None)  # an empty one takes an alias away
    mode = str(document.get("short-name-mode") or before.short_name_mode)
    if mode not in _MODES:
        raise RegistryError(f"unknown short-name-mode {mode!r}", where=path)
    unqualified = document.get("unqualified-search-registries")
    hosts = before.unqualified if unqualified is None else tuple(map(str, unqualified))
    return Registries(tuple(entries.values()), hosts, tuple(aliases.items()), mode)


def _tables(document: dict[str, Any], name: str, path: str) -> list[dict[str, Any]]:
    found = document.get(name) or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise RegistryError(f"{name} is not a list of tables", where=path)
    return found


def _decode_entry(table: dict[str, Any], path: str) -> _Entry:
    location = str(table.get("location") or "").rstrip("/")
    prefix = str(table.get("prefix") or location).rstrip("/")
    if not prefix:
        raise RegistryError("[[registry]] has neither prefix nor location", where=path)
    if not location and not prefix.startswith("*."):
        location = prefix
    only_digests = "digest-only" if table.get("mirror-by-digest-only") else "all"
    mirrors = []
    for mirror in _tables(table, "mirror", path):
        pulls = str(mirror.get("pull-from-mirror") or only_digests)
        if pulls not in _PULLS or not mirror.get("location"):
            raise RegistryError(f"mirror of {prefix} has no location, or is for {pulls!r}", where=path)
        place = str(mirror["location"]).rstrip("/")
        mirrors.append(_Place(place, bool(mirror.get("insecure")), pulls))
    blocked = bool(table.get("blocked"))
    return _Entry(prefix, _Place(location, bool(table.get("insecure"))), tuple(mirrors), blocked)


def _matched_length(prefix: str, name: str) -> int:
    """How much of a name a prefix stands for: whole components, or with `*.` any host below a domain."""
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        suffix = prefix[1:]
        domain, slash, path = suffix.partition("/")
        if not host.endswith(domain) or len(host) == len(domain):
            return 0
        full = host + slash + path
    else:
        full = prefix
    return len(full) if name == full or name.startswith(f"{full}/") else 0


def _moved(reference: RegistryReference, prefix: str, location: str) -> RegistryReference:
    """The reference with what the prefix stands for replaced by the location."""
    name = f"{reference.host}/{reference.repository}"
    if not location:
        return reference
    host, _, path = (location + name[_matched_length(prefix, name) :]).partition("/")
    return RegistryReference(host, path, reference.tag, reference.digest)
