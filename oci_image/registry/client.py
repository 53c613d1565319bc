"""Requests to one repository of a registry: authentication, redirects and retries.

On urllib3, for its connection pool, timeouts and verified TLS; retries are made here, since a token that
expired and a transfer that broke off need more than the same request again.
"""

from __future__ import annotations

import email.utils
import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import urllib3

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import DOCKER_HUB
from oci_image.registry.connections import Connections, is_loopback
from oci_image.registry.options import RegistryOptions
from oci_image.registry.tokens import Authenticator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oci_image.registry.configuration import Endpoint

ATTEMPTS = 5
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_MAX_WAIT = 60.0  # seconds, whatever Retry-After says
_MAX_ERROR_BYTES = 1 << 20
_MAX_REDIRECTS = 5
_MAX_LOG_INS = 4  # for one request; what other threads do to the token counts too
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RegistryClient:
    """One repository of one registry.  Threads may share it."""

    def __init__(
        self,
        host: str,
        repository: str,
        options: RegistryOptions | None = None,
        *,
        insecure: bool = False,
        place: Endpoint | None = None,
    ) -> None:
        """`insecure` and `place` are what the configuration says of this registry, beside the options."""
        self.host, self.repository = host, repository
        self.options = options or RegistryOptions()
        self._root, self._namespace = (place.root, place.namespace) if place else ("", "")
        self._headers = dict(place.headers) if place else {}
        usual = "registry-1.docker.io" if host == DOCKER_HUB else host
        self._address = urlsplit(self._root).netloc or usual
        insecure = insecure or (place is not None and place.insecure)
        self._insecure = self.options.insecure or insecure or is_loopback(self._address)
        self._connections = Connections(
            self._address,
            insecure=self._insecure,
            ca_file=self.options.ca_file,
            cert_dir=self.options.cert_dir,
            ca_files=place.ca_files if place else (),
            clients=place.clients if place else (),
            read_timeout=self.options.read_timeout,
        )
        self._authenticator = Authenticator(
            host, repository, self.options, self._connections, insecure=self._insecure
        )
        self._lock = threading.Lock()

    def close(self) -> None:
        """End all connections."""
        self._connections.close()

    def url(self, path: str) -> str:
        """The URL of a path below /v2/; finds out the scheme on first use."""
        with self._lock:
            if not self._root:
                self._root = f"{self._find_base()}/v2/"
        if self._namespace and path:
            path += f"{'&' if '?' in path else '?'}ns={quote(self._namespace)}"
        return urljoin(self._root, path)

    def _find_base(self) -> str:
        secure, plain = f"https://{self._address}", f"http://{self._address}"
        if not self._insecure:
            return secure
        try:
            self._connections.request("GET", f"{secure}/v2/")
        except (urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError):
            return plain  # somebody is there, and does not speak TLS
        except urllib3.exceptions.HTTPError as problem:
            try:
                self._connections.request("GET", f"{plain}/v2/")
            except urllib3.exceptions.HTTPError:
                raise RegistryError(f"cannot reach registry: {problem}", where=self._address) from None
            return plain
        return secure

    def scope(self, actions: str) -> str:
        """What a token must allow for `actions` in this repository."""
        return f"repository:{self.repository}:{actions}"

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        expected: Iterable[int] = (200,),
        actions: str = "pull",
        scope: str = "",
    ) -> urllib3.BaseHTTPResponse:
        """Send a request that may be sent again, until it is answered; the response is not read yet.

        Raises: RegistryError for any answer but those `expected`, and when there is none.
        """
        wait = self.options.first_wait
        for attempt in range(1, ATTEMPTS + 1):
            problem, response = "", None
            try:
                response = self.send(
                    method, self.url(path), headers=headers, body=body, actions=actions, scope=scope
                )
            except urllib3.exceptions.HTTPError as error:
                problem = f"cannot reach registry: {error}"
            if response is not None:
                if response.status in expected:
                    return response
                failure = self.failure(method, response)
                if response.status not in RETRIED or attempt == ATTEMPTS:
                    raise failure
            elif attempt == ATTEMPTS:
                raise RegistryError(problem, where=self._address)
            self.pause(wait, response)
            wait *= 2
        raise AssertionError

    @staticmethod
    def pause(wait: float, response: urllib3.BaseHTTPResponse | None = None) -> None:
        """Wait before a retry, as long as the registry asks for if it does."""
        asked = _seconds(response.headers.get("Retry-After", "")) if response is not None else None
        if asked is None:
            asked = wait * (0.5 + random.random())  # noqa: S311 - spreads retries, nothing secret
        time.sleep(min(max(asked, 0.0), _MAX_WAIT))

    def failure(self, method: str, response: urllib3.BaseHTTPResponse) -> RegistryError:
        """An answer that was not wanted, as an error; ends the response."""
        try:
            text = response.read(_MAX_ERROR_BYTES, decode_content=True).decode("utf-8", "replace")
        except urllib3.exceptions.HTTPError:
            text = ""  # the status says enough
        response.release_conn()
        said = ""
        try:
            errors = json.loads(text)["errors"]
            said = "; ".join(f"{error.get('code')}: {error.get('message')}" for error in errors)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            said = text.strip()[:200]
        hint = "oci-image login" if response.status in (401, 403) else ""
        what = f"{method} answered {response.status} {said}".rstrip()
        return RegistryError(what, where=f"{self.host}/{self.repository}", hint=hint, status=response.status)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: Any = None,  # noqa: ANN401 - what urllib3 takes
        actions: str = "pull",
        scope: str = "",
    ) -> urllib3.BaseHTTPResponse:
        """One request, with a token if one is asked for and redirects followed; urllib3's errors pass."""
        scope = scope or self.scope(actions)
        host = urlsplit(self.url("")).netloc
        log_ins = 0
        for _ in range(_MAX_REDIRECTS + _MAX_LOG_INS):
            sent = {"Accept-Encoding": "identity", "User-Agent": "oci-image", **(headers or {})}
            # A token is for the registry; another host must not see it (CVE-2020-15157).
            mine = urlsplit(url).netloc == host
            used = self._authenticator.header(scope)
            if mine:
                sent |= self._headers | ({"Authorization": used} if used else {})
            response = self._connections.request(method, url, headers=sent, body=body, preload_content=False)
            if response.status == 401 and mine and not hasattr(body, "__next__"):
                # Tokens expire at any time; one that was just made is refused only if it will always be.
                log_ins += 1
                if log_ins > _MAX_LOG_INS or not self._log_in(response, scope, used):
                    return response
                continue
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target or method not in ("GET", "HEAD"):
                return response
            response.drain_conn()
            before, url = url, urljoin(url, target)
            if urlsplit(before).scheme == "https" and urlsplit(url).scheme != "https":
                raise RegistryError("registry redirects to an unencrypted address", where=url)
        raise RegistryError(f"more than {_MAX_REDIRECTS} redirects", where=url)

    def _log_in(self, response: urllib3.BaseHTTPResponse, scope: str, used: str) -> bool:
        try:
            again = self._authenticator.answer(response, scope, used)
        except BaseException:
            response.close()
            raise
        if again:
            response.drain_conn()
        return again

    def forget_token(self, actions: str) -> None:
        """Ask for a new token next time."""
        self._authenticator.forget(self.scope(actions))


def _seconds(text: str) -> float | None:
    """What Retry-After says, as seconds from now; None if it says nothing that can be understood."""
    if text.isdigit():
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time() if text else None
    except ValueError:
        return None
