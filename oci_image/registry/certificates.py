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
    from collections.abc import Callable, Iterator, Sequence


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


class Certificates:
    """What is trusted, and what identifies us, when talking to one host and to others on its behalf."""

    def __init__(
        self,
        host: str,
        *,
        insecure: bool = False,
        ca_file: str = "",
        cert_dir: str = "",
        ca_files: Sequence[str] = (),
        clients: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`ca_files` and `clients`, certificates with their keys, are for the host alone."""
        self._insecure = insecure
        self._ca_file = ca_file
        self._ca_files, self._clients = ca_files, clients
        self._directory = certificate_directory(host, cert_dir)

    def context(self, *, own: bool) -> ssl.SSLContext:
        """How to talk to the host itself, or to others, who do not see the client's certificate.

        Raises: RegistryError for a certificate that cannot be read, or one of a pair without the other.
        """
        context = _unverified() if self._insecure else ssl.create_default_context()  # heeds SSL_CERT_FILE
        try:
            names = sorted(os.listdir(self._directory)) if self._directory else []
        except OSError as error:
            what = f"cannot read certificates: {errno_text(error.errno or 0)}"
            raise RegistryError(what, where=self._directory) from None
        trusted = [os.path.join(self._directory, name) for name in names if name.endswith(".crt")]
        for path in [*trusted, *([self._ca_file] if self._ca_file else [])]:
            _load(path, partial(context.load_verify_locations, path))
        if own:
            for path in self._ca_files:
                _load(path, partial(context.load_verify_locations, path))
            for certificate, key in [*self._clients, *self._pairs(names)]:
                _load(certificate, partial(context.load_cert_chain, certificate, key))
        return context

    def _pairs(self, names: list[str]) -> Iterator[tuple[str, str]]:
        for name in names:
            path = os.path.join(self._directory, name)
            stem = os.path.splitext(name)[0]
            if name.endswith(".key") and f"{stem}.cert" not in names:
                raise RegistryError("a key has no certificate beside it", where=path, hint=f"add {stem}.cert")
            if name.endswith(".cert") and f"{stem}.key" not in names:
                raise RegistryError(
                    "a client certificate has no key beside it", where=path, hint=f"add {stem}.key"
                )
            if name.endswith(".cert"):
                yield path, os.path.join(self._directory, f"{stem}.key")


def _unverified() -> ssl.SSLContext:
    """Without the system's certificates, which take 30 ms to load and would not be looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(path: str, call: Callable[[], None]) -> None:
    try:
        call()
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(f"cannot use certificate: {error}", where=path) from None
