"""Requests to one registry: connections, authentication, redirects and retries.

On urllib3, for its connection pool, timeouts and verified TLS; retries are made here, since a token that
expired and a transfer that broke off need more than the same request again.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import DOCKER_HUB
from oci_image.registry.credentials import Credentials, find_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTEMPTS = 5
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_MAX_WAIT = 60.0  # seconds, whatever Retry-After says
_MAX_ERROR_BYTES = 1 << 20
_MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How to reach registries.

    `insecure` allows certificates that cannot be verified and, after those, plain HTTP; both are allowed
    for loopback addresses.  `first_wait` is the pause in seconds before the first retry; it doubles.
    """

    insecure: bool = False
    ca_file: str = ""
    authfile: str = ""
    credentials: Credentials | None = None
    first_wait: float = 0.5
    read_timeout: float = 60.0


class RegistryClient:
    """One repository of one registry.  Threads may share it."""

    def __init__(self, host: str, repository: str, options: RegistryOptions | None = None) -> None:
        self.host, self.repository = host, repository
        self._options = options or RegistryOptions()
        address = "registry-1.docker.io" if host == DOCKER_HUB else host
        name = urlsplit(f"//{address}").hostname or ""
        self._insecure = self._options.insecure or name in ("localhost", "::1") or name.startswith("127.")
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=16,
            retries=False,
            timeout=urllib3.Timeout(connect=30, read=self._options.read_timeout),
            cert_reqs="CERT_NONE" if self._insecure else "CERT_REQUIRED",
            ca_certs=self._options.ca_file or os.environ.get("SSL_CERT_FILE") or None,
        )
        self._address = address
        self._base = ""
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End all connections."""
        self._pool.clear()

    def url(self, path: str) -> str:
        """The URL of a path below /v2/; finds out the scheme on first use."""
        with self._lock:
            if not self._base:
                self._base = self._find_base()
        return urljoin(self._base + "/v2/", path)

    def _find_base(self) -> str:
        if not self._insecure:
            return f"https://{self._address}"
        try:
            self._pool.request("GET", f"https://{self._address}/v2/", redirect=False)
        except (urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError):
            return f"http://{self._address}"
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"cannot reach registry: {error}", where=self._address) from None
        return f"https://{self._address}"

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
        wait = self._options.first_wait
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
                if response.status not in _RETRIED or attempt == ATTEMPTS:
                    raise failure
            elif attempt == ATTEMPTS:
                raise RegistryError(problem, where=self._address)
            self.pause(wait, response)
            wait *= 2
        raise AssertionError

    @staticmethod
    def pause(wait: float, response: urllib3.BaseHTTPResponse | None = None) -> None:
        """Wait before a retry, as long as the registry asks for if it does."""
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        if asked.isdigit():
            wait = float(asked)
        elif asked and (date := email.utils.parsedate_to_datetime(asked)):
            wait = date.timestamp() - time.time()
        else:
            wait *= 0.5 + random.random()  # noqa: S311 - spreads retries, nothing secret
        time.sleep(min(max(wait, 0.0), _MAX_WAIT))

    def failure(self, method: str, response: urllib3.BaseHTTPResponse) -> RegistryError:
        """An answer that was not wanted, as an error; ends the response."""
        text = response.read(_MAX_ERROR_BYTES, decode_content=True).decode("utf-8", "replace")
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
        scope = scope or f"repository:{self.repository}:{actions}"
        host = urlsplit(self.url("")).netloc
        for _ in range(_MAX_REDIRECTS):
            sent = {"Accept-Encoding": "identity", "User-Agent": "oci-image", **(headers or {})}
            # A token is for the registry; another host must not see it (CVE-2020-15157).
            mine = urlsplit(url).netloc == host
            used = self._tokens.get(scope, "")
            if mine and used:
                sent["Authorization"] = used
            response = self._pool.request(
                method, url, headers=sent, body=body, preload_content=False, redirect=False
            )
            if response.status == 401 and mine and not hasattr(body, "__next__"):
                try:
                    if self._authenticate(response, scope, used):
                        continue
                except BaseException:
                    response.close()
                    raise
                return response
            target = response.headers.get("Location", "")
            if (
                response.status not in (301, 302, 303, 307, 308)
                or not target
                or method not in ("GET", "HEAD")
            ):
                return response
            response.drain_conn()
            before, url = url, urljoin(url, target)
            if urlsplit(before).scheme == "https" and urlsplit(url).scheme != "https":
                raise RegistryError("registry redirects to an unencrypted address", where=url)
        if response.status == 401:
            return response
        raise RegistryError(f"more than {_MAX_REDIRECTS} redirects", where=url)

    def forget_token(self, actions: str) -> None:
        """Ask for a new token next time."""
        self._tokens.pop(f"repository:{self.repository}:{actions}", None)

    def _authenticate(self, response: urllib3.BaseHTTPResponse, scope: str, used: str) -> bool:
        """Get what the challenge asks for; whether it makes sense to try again."""
        with self._lock:
            if self._tokens.get(scope, "") != used:
                response.drain_conn()
                return True  # another thread was faster
            challenge = response.headers.get("WWW-Authenticate", "")
            known = self._options.credentials or find_credentials(
                self.host, self.repository, self._options.authfile
            )
            kind, _, rest = challenge.partition(" ")
            if kind.lower() == "basic":
                if known is None or used:
                    return False
                self._tokens[scope] = known.basic()
            elif kind.lower() == "bearer":
                if used and used == self._tokens.get(scope + " refreshed"):
                    return False  # a token that was just made is refused too
                token = self._fetch_token(dict(re.findall(r'(\w+)="([^"]*)"', rest)), scope, known)
                self._tokens[scope] = f"Bearer {token}"
                if used:
                    self._tokens[scope + " refreshed"] = f"Bearer {token}"
            else:
                return False
        response.drain_conn()
        return True

    def _fetch_token(self, challenge: dict[str, str], scope: str, known: Credentials | None) -> str:
        realm = challenge.get("realm", "")
        if not realm.startswith("https://") and not (self._insecure and realm.startswith("http://")):
            raise RegistryError(
                f"registry asks for a token from {realm!r}, which is not https", where=self.host
            )
        service = challenge.get("service", "")
        fields = {"service": service, "client_id": "oci-image"} | ({"scope": scope} if scope.strip() else {})
        if known is not None and known.identity_token:
            form = {**fields, "grant_type": "refresh_token", "refresh_token": known.identity_token}
            answer = self._pool.request("POST", realm, fields=form, encode_multipart=False, redirect=False)
        else:
            headers = {"Authorization": known.basic()} if known is not None else {}
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}"
            answer = self._pool.request("GET", url, headers=headers, redirect=False)
        if answer.status != 200:
            hint = "oci-image login" if answer.status in (401, 403) else ""
            raise RegistryError(
                f"token server answered {answer.status}", where=realm, hint=hint, status=answer.status
            )
        try:
            document = json.loads(answer.data[:_MAX_ERROR_BYTES])
            return str(document.get("token") or document["access_token"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RegistryError("token server gave no token", where=realm) from None
