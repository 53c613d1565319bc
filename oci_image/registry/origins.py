"""Which repositories of a registry have which blobs, as far as earlier transfers have shown.

With it a push asks the registry to mount a blob from there instead of sending it.  It is a cache: what is
wrong in it costs one request, and nothing that goes wrong with its file is an error.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from urllib.parse import quote

_MAX_BLOBS = 5000  # of one registry; the oldest are forgotten
_MAX_REPOSITORIES = 3  # for one blob; the newest first
_MAX_BYTES = 4 << 20


class Origins:
    """What is known of one registry.  Threads may share it."""

    def __init__(self, host: str, directory: str = "") -> None:
        """`directory` is where the files are, by default the user's cache."""
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self._path = os.path.join(directory or f"{cache}/oci-image/origins", f"{quote(host, safe='')}.json")
        self._known: dict[str, list[str]] | None = None
        self._new: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def find(self, digest: str, but: str) -> str:
        """A repository other than `but` that had the blob, "" if none is known."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            return next((name for name in self._known.get(digest, []) if name != but), "")

    def note(self, digest: str, repository: str) -> None:
        """The repository has the blob; `save` remembers it."""
        with self._lock:
            self._new.append((digest, repository))

    def save(self) -> None:
        """Write what was noted, beside what other processes have written meanwhile."""
        with self._lock:
            if not self._new:
                return
            known = self._read()
            for digest, repository in self._new:
                before = [name for name in known.pop(digest, []) if name != repository]
                known[digest] = [repository, *before][:_MAX_REPOSITORIES]
            self._new = []
            kept = dict(list(known.items())[-_MAX_BLOBS:])
            temporary = f"{self._path}.{secrets.token_hex(4)}"
            try:
                os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
                    json.dump(kept, output)
                os.replace(temporary, self._path)
            except OSError:
                if os.path.exists(temporary):
                    os.unlink(temporary)

    def _read(self) -> dict[str, list[str]]:
        try:
            with open(self._path, encoding="utf-8") as source:
                document = json.loads(source.read(_MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(document, dict):
            return {}
        return {
            str(digest): [str(name) for name in names]
            for digest, names in document.items()
            if isinstance(names, list)
        }
