"""Whom to trust and how to identify oneself by TLS: system, file, and the directories of certs.d.

Source: containers-certs.d(5); Docker's /etc/docker/certs.d is of the same form.
"""

from __future__ import annotations

import os
import ssl
from functools import partial
from typing import TYPE_CHECKING

from oci_image.errors import RegistryError
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from collections.abc import Callable


def certificate_directory(host: str, cert_dir: str = "") -> str:
    """The directory with the certificates for a host, "" if there is none; `cert_dir` alone if it is given."""
    if cert_dir:
        return cert_dir
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    places = (f"{home}/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")
    for place in places:
        path = os.path.join(place, host)
        if os.path.isdir(path):
            return path
    return ""


def tls_contexts(
    host: str, *, insecure: bool = False, ca_file: str = "", cert_dir: str = ""
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """How to talk to the host itself, and to others on its behalf, who do not see the client's certificate.

    Raises: RegistryError for a certificate that cannot be read, or a key without its certificate.
    """
    directory = certificate_directory(host, cert_dir)
    try:
        names = sorted(os.listdir(directory)) if directory else []
    except OSError as error:
        raise RegistryError(
            f"cannot read certificates: {errno_text(error.errno or 0)}", where=directory
        ) from None
    trusted = [os.path.join(directory, name) for name in names if name.endswith(".crt")]
    made = []
    for _ in range(2):
        context = ssl.create_default_context()  # heeds SSL_CERT_FILE and SSL_CERT_DIR
        for path in [*trusted, *([ca_file] if ca_file else [])]:
            _load(path, partial(context.load_verify_locations, path))
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        made.append(context)
    own, others = made
    for name in names:
        path = os.path.join(directory, name)
        if name.endswith(".key") and f"{name[:-4]}.cert" not in names:
            raise RegistryError(
                "a key has no certificate beside it", where=path, hint=f"add {name[:-4]}.cert"
            )
        if name.endswith(".cert"):
            key = f"{path[:-5]}.key"
            if f"{name[:-5]}.key" not in names:
                raise RegistryError(
                    "a client certificate has no key beside it", where=path, hint=f"add {key}"
                )
            _load(path, partial(own.load_cert_chain, path, key))
    return own, others


def _load(path: str, call: Callable[[], None]) -> None:
    try:
        call()
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(f"cannot use certificate: {error}", where=path) from None
