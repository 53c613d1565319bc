"""Connections to a registry and to where it sends us: pools, TLS and proxies."""

from __future__ import annotations

import ipaddress
import threading
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import urllib3

from oci_image.errors import RegistryError
from oci_image.registry.certificates import Certificates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CONNECT_TIMEOUT = 30.0  # seconds
_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")  # those with a letter at the end leave names to the proxy


class Connections:
    """Requests over connections that are kept.  Threads may share it.

    The proxies of the environment are used: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, in
    either case of letters; SOCKS if PySocks is there.  Loopback addresses are never reached through one.
    """

    def __init__(
        self,
        host: str,
        *,
        insecure: bool,
        ca_file: str,
        cert_dir: str,
        read_timeout: float,
        ca_files: Sequence[str] = (),
        clients: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._host = host
        self._insecure = insecure
        self._certificates = Certificates(
            host, insecure=insecure, ca_file=ca_file, cert_dir=cert_dir, ca_files=ca_files, clients=clients
        )
        self._timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT, read=read_timeout)
        self._pools: dict[tuple[bool, bool, str], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:  # noqa: ANN401
        """One request without retries and redirects; the options and the errors are urllib3's."""
        return self._pool(url).request(method, url, redirect=False, retries=False, **options)

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        secure, own = parts.scheme == "https", parts.netloc == self._host
        proxy = proxy_for(url)
        with self._lock:
            pool = self._pools.get((secure, own, proxy))
            if pool is None:
                pool = self._pools[secure, own, proxy] = self._make_pool(proxy, secure=secure, own=own)
            return pool

    def _make_pool(self, proxy: str, *, secure: bool, own: bool) -> urllib3.PoolManager:
        settings: dict[str, Any] = {"num_pools": 8, "maxsize": 16, "timeout": self._timeout}
        if secure:
            settings["ssl_context"] = self._certificates.context(own=own)
            if self._insecure:
                settings |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
                # The caller asked for it, or the address is this machine's.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if not proxy:
            return urllib3.PoolManager(**settings)
        parts = urlsplit(proxy)
        if parts.scheme in _SOCKS:
            return _socks_pool(proxy, settings)
        if parts.scheme not in ("http", "https"):
            raise RegistryError(
                f"proxies of the kind {parts.scheme!r} are not supported", where=parts.hostname or proxy
            )
        if parts.username:
            user = f"{parts.username}:{parts.password or ''}"
            settings["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=user)
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return urllib3.ProxyManager(address, **settings)

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()


def _socks_pool(proxy: str, settings: dict[str, Any]) -> urllib3.PoolManager:
    try:
        from urllib3.contrib.socks import SOCKSProxyManager
    except ImportError:
        raise RegistryError(
            "proxies of the kind SOCKS need PySocks",
            where=urlsplit(proxy).hostname or proxy,
            hint="install PySocks (the extra socks), or use another proxy",
        ) from None
    return SOCKSProxyManager(proxy, **settings)


def is_loopback(host: str) -> bool:
    """Whether an address `HOST[:PORT]` is on this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.")


def proxy_for(url: str) -> str:
    """The proxy of the environment for a URL, "" to go there directly."""
    parts = urlsplit(url)
    if is_loopback(parts.netloc):
        return ""
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(parts.netloc) or _in_network(parts.hostname or "", proxies.get("no", "")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _in_network(name: str, exceptions: str) -> bool:
    """Whether an address is in one of the networks (`10.0.0.0/8`) of `no_proxy`."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    for word in exceptions.split(","):
        try:
            if "/" in word and address in ipaddress.ip_network(word.strip(), strict=False):
                return True
        except ValueError:
            continue  # a domain, which was looked at already
    return False
