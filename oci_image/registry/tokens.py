"""Authentication: challenges, tokens and passwords.

Source: distribution-spec, "Authentication"; Docker's token specification; RFC 9110, section 11.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from oci_image.errors import RegistryError
from oci_image.registry.credentials import find_credentials

if TYPE_CHECKING:
    import urllib3

    from oci_image.registry.connections import Connections
    from oci_image.registry.credentials import Credentials
    from oci_image.registry.options import RegistryOptions

_MAX_ANSWER = 1 << 20  # bytes
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s+[A-Za-z0-9_-]+\s*=|\s*(?:,|$))")


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """The challenges of WWW-Authenticate: scheme in lower case, and parameters."""
    # Quoted values may hold commas and words, so they are taken away to find the schemes.
    blank = re.sub(r'"(?:[^"\\]|\\.)*"', lambda quoted: '"' + "x" * (len(quoted[0]) - 2) + '"', header)
    starts = list(_SCHEME.finditer(blank))
    ends = [*(start.start() for start in starts[1:]), len(header)][: len(starts)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(header[start.end() : end])
        }
        found.append((start[1].lower(), parameters))
    return found


class Authenticator:
    """The tokens for one repository, made when they are asked for.  Threads may share it.

    A scope is one or more words `repository:NAME:ACTIONS`, separated by spaces.
    """

    def __init__(
        self,
        host: str,
        repository: str,
        options: RegistryOptions,
        connections: Connections,
        *,
        insecure: bool,
    ) -> None:
        self._host, self._repository = host, repository
        self._options, self._connections, self._insecure = options, connections, insecure
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def header(self, scope: str) -> str:
        """The Authorization for requests of a scope, "" if none was asked for yet."""
        return self._tokens.get(scope, "")

    def forget(self, scope: str) -> None:
        """Ask for a new token next time."""
        self._tokens.pop(scope, None)

    def answer(self, response: urllib3.BaseHTTPResponse, scope: str, used: str) -> bool:
        """Get what a 401 asks for, which was the answer to a request with the Authorization `used`.

        Returns whether it makes sense to try again.  Raises: RegistryError.
        """
        with self._lock:
            if self._tokens.get(scope, "") != used:
                return True  # another thread was faster
            known = self._options.credentials or find_credentials(
                self._host, self._repository, self._options.authfile
            )
            if known is not None and known.registry_token:
                self._tokens[scope] = f"Bearer {known.registry_token}"
                return not used
            challenges = dict(reversed(parse_challenges(response.headers.get("WWW-Authenticate", ""))))
            if "bearer" in challenges:
                self._tokens[scope] = f"Bearer {self._fetch(challenges['bearer'], scope, known)}"
                return True
            if "basic" in challenges and known is not None and not used and not known.identity_token:
                self._tokens[scope] = known.basic()
                return True
        return False

    def _fetch(self, challenge: dict[str, str], scope: str, known: Credentials | None) -> str:
        realm = challenge.get("realm", "")
        if not realm.startswith("https://") and not (self._insecure and realm.startswith("http://")):
            raise RegistryError(
                f"registry asks for a token from {realm!r}, which is not https", where=self._host
            )
        fields = [("service", challenge.get("service", "")), ("client_id", "oci-image")]
        if known is not None and known.identity_token:
            form = {**dict(fields), "grant_type": "refresh_token", "refresh_token": known.identity_token}
            form |= {"scope": scope.strip()} if scope.strip() else {}
            answer = self._connections.request("POST", realm, fields=form, encode_multipart=False)
        else:
            query = urlencode([*fields, *(("scope", word) for word in scope.split())])
            headers = {"Authorization": known.basic()} if known is not None else {}
            url = f"{realm}{'&' if '?' in realm else '?'}{query}"
            answer = self._connections.request("GET", url, headers=headers)
        if answer.status != 200:
            hint = "oci-image login" if answer.status in (401, 403) else ""
            raise RegistryError(
                f"token server answered {answer.status}", where=realm, hint=hint, status=answer.status
            )
        try:
            document = json.loads(answer.data[:_MAX_ANSWER])
            return str(document.get("token") or document["access_token"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RegistryError("token server gave no token", where=realm) from None
