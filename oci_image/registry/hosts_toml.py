"""Mirrors as containerd has them: hosts.toml in a directory of the registry's name.

Source: containerd's docs/hosts.md, "Registry Configuration - Introduction"; only what concerns pulling is read.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import DOCKER_HUB
from oci_image.registry.configuration import Endpoint
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.model.registry_reference import RegistryReference

HOSTS_DIRECTORY = "/etc/containerd/certs.d"
_DEFAULT = "_default"


def hosts_endpoints(reference: RegistryReference, directory: str = "") -> tuple[Endpoint, ...]:
    """Where hosts.toml says that an image may be had: the hosts in their order, then the server; () without a file.

    Raises: RegistryError for a file that is not what it should be.
    """
    path = _file_for(reference.host, directory or HOSTS_DIRECTORY)
    if not path:
        return ()
    document = _read(path)
    wanted = {"pull"} if reference.digest else {"pull", "resolve"}
    hosts = document.get("host") or {}
    if not isinstance(hosts, dict):
        raise RegistryError("host is no table", where=path)
    found = []
    for url, table in hosts.items():
        if not isinstance(table, dict):
            raise RegistryError(f"host {url} is no table", where=path)
        if wanted <= set(table.get("capabilities") or ("pull", "resolve")):
            found.append(_endpoint(reference, url, table, path, namespace=reference.host))
    usual = "registry-1.docker.io" if reference.host == DOCKER_HUB else reference.host
    server = str(document.get("server") or f"https://{usual}")
    return (*found, _endpoint(reference, server, document, path, namespace=""))


def _file_for(host: str, directory: str) -> str:
    name, _, port = host.partition(":")
    folders = [host, f"{name}_{port}_", _DEFAULT] if port else [host, _DEFAULT]
    paths = (os.path.join(directory, folder, "hosts.toml") for folder in folders)
    return next((path for path in paths if os.path.isfile(path)), "")


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise RegistryError(f"cannot read: {errno_text(error.errno or 0)}", where=path) from None
    except ValueError as error:
        raise RegistryError(f"not valid TOML: {error}", where=path) from None


def _endpoint(
    reference: RegistryReference, url: str, table: dict[str, Any], path: str, *, namespace: str
) -> Endpoint:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise RegistryError(f"host {url!r} is no URL", where=path, hint="write https://HOST[:PORT]")
    root = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    if not table.get("override_path") and not root.endswith("/v2"):
        root += "/v2"
    folder = os.path.dirname(path)
    clients = table.get("client") or []
    pairs = [
        (pair, pair) if isinstance(pair, str) else tuple(pair)
        for pair in ([clients] if isinstance(clients, str) else clients)
    ]
    if any(len(pair) not in (1, 2) for pair in pairs):
        raise RegistryError(f"client of {url} is no certificate, or a pair of one and its key", where=path)
    cas = table.get("ca") or []
    headers = {
        str(name): value if isinstance(value, str) else ", ".join(map(str, value))
        for name, value in (table.get("header") or {}).items()
    }
    return Endpoint(
        reference.replace(host=parts.netloc if namespace else reference.host),
        insecure=bool(table.get("skip_verify")),
        root=f"{root}/",
        namespace=namespace,
        ca_files=tuple(os.path.join(folder, each) for each in ([cas] if isinstance(cas, str) else cas)),
        clients=tuple((os.path.join(folder, pair[0]), os.path.join(folder, pair[-1])) for pair in pairs),
        headers=tuple(headers.items()),
    )
