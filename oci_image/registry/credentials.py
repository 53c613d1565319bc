"""Who we are to a registry: Docker's config.json, containers' auth.json, and credential helpers.

Source: containers-auth.json(5); docker login.
"""

from __future__ import annotations

import base64
import json
import os
import re

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import DOCKER_HUB
from oci_image.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", DOCKER_HUB)


class Credentials(Value):
    """A user and a password, or an OAuth2 refresh token, or a token that is sent as it is."""

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def credential_files(authfile: str = "") -> list[str]:
    """The files to look into, in order."""
    named = authfile or os.environ.get("REGISTRY_AUTH_FILE", "")
    if named:
        return [named]
    home = os.path.expanduser("~")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    docker = os.environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    found = [os.path.join(runtime, "containers/auth.json")] if runtime else []
    return [*found, os.path.join(config, "containers/auth.json"), os.path.join(docker, "config.json")]


def find_credentials(host: str, repository: str, authfile: str = "") -> Credentials | None:
    """What is known for a repository; the most specific entry of the first file that has one."""
    names = [f"{host}/{repository}"]
    while "/" in names[-1]:
        names.append(names[-1].rpartition("/")[0])
    if host == DOCKER_HUB:
        names.extend(_HUB_KEYS)
    for path in credential_files(authfile):
        document = _read(path)
        helpers = document.get("credHelpers") or {}
        helper = helpers.get(host) or document.get("credsStore")
        if helper:
            found = _ask_helper(str(helper), _HUB_KEYS[0] if host == DOCKER_HUB else host)
            if found:
                return found
        auths = {_normal(key): value for key, value in (document.get("auths") or {}).items()}
        for name in names:
            entry = auths.get(_normal(name))
            if isinstance(entry, dict) and (found := _decode(entry)):
                return found
    return None


def store_credentials(host: str, credentials: Credentials | None, authfile: str = "") -> str:
    """Remember, or with None forget, what belongs to a host; where: a file, or a helper that the file names.

    Raises: RegistryError if the file cannot be written, the helper fails, or to forget what is not there.
    """
    import tempfile  # with random and shutil: three milliseconds

    paths = credential_files(authfile)
    path = next((path for path in paths if os.path.exists(path)), paths[0])
    document = _read(path)
    auths = dict(document.get("auths") or {})
    key = _HUB_KEYS[0] if host == DOCKER_HUB and path.endswith("config.json") else host
    helper = str((document.get("credHelpers") or {}).get(host) or document.get("credsStore") or "")
    if helper:
        server = _HUB_KEYS[0] if host == DOCKER_HUB else host
        if credentials is None and _ask_helper(helper, server) is None:
            raise RegistryError(f"not logged in to {host}", where=f"docker-credential-{helper}")
        if credentials is None:
            _call_helper(helper, "erase", server)
        else:
            secret = {"ServerURL": server, "Username": credentials.user, "Secret": credentials.password}
            _call_helper(helper, "store", json.dumps(secret))
        return f"docker-credential-{helper}"
    if credentials is None:
        if auths.pop(key, None) is None:
            raise RegistryError(f"not logged in to {host}", where=path)
    else:
        pair = f"{credentials.user}:{credentials.password}".encode()
        auths[key] = {"auth": base64.b64encode(pair).decode()}
    document["auths"] = auths
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)))  # mode 0600
        with open(fd, "w", encoding="utf-8") as output:
            json.dump(document, output, indent=4)
        os.replace(temporary, path)
    except OSError as error:
        raise RegistryError(f"cannot write credentials: {error.strerror}", where=path) from None
    return path


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as source:
            document = json.load(source)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RegistryError(f"cannot read credentials: {error}", where=path) from None
    if not isinstance(document, dict):
        raise RegistryError("credentials are not a JSON object", where=path)
    return document


def _normal(key: str) -> str:
    return re.sub(r"/v[12]/?$", "", re.sub(r"^https?://", "", key)).rstrip("/")


def _decode(entry: dict[str, Any]) -> Credentials | None:
    if entry.get("registrytoken"):
        return Credentials(registry_token=str(entry["registrytoken"]))
    if entry.get("identitytoken"):
        return Credentials(identity_token=str(entry["identitytoken"]))
    try:
        user, colon, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except ValueError:
        return None
    return Credentials(user, password.rstrip("\0")) if colon else None


def _call_helper(name: str, action: str, text: str) -> str | None:
    """Run a helper with a text for its input; what it prints, None if it does not know the server."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise RegistryError(f"invalid name of a credential helper {name!r}")
    import subprocess

    command = [f"docker-credential-{name}", action]
    try:
        done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"credential helper {command[0]} failed: {error}") from None
    if done.returncode != 0:
        # "credentials not found in native keychain", on standard output, is how helpers say so.
        if "not found" in done.stdout:
            return None
        raise RegistryError(f"credential helper {command[0]} failed: {done.stdout.strip()[:200]}")
    return done.stdout


def _ask_helper(name: str, host: str) -> Credentials | None:
    text = _call_helper(name, "get", host)
    if text is None:
        return None
    try:
        answer = json.loads(text)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise RegistryError(f"credential helper docker-credential-{name} gave no credentials") from None
    return Credentials(identity_token=secret) if user == "<token>" else Credentials(user, secret)
