"""What steps have made before, by everything that they depend on.

A key is a digest over the layers below, the instruction with its variables put in, the content that it
copies, and the settings that it sees; so the same step on the same tree is found again in any Dockerfile.
A record names a layer of the store.  It counts only while the store has that layer, so collecting garbage
empties the cache of what no image has.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from oci_image.model.descriptor import Descriptor, decode_descriptor
from oci_image.model.digest import Digest, parse_digest
from pyruntime.base.errors import ExpectedError

if TYPE_CHECKING:
    from oci_image.store.content import Store

_VERSION = 1
_DIRECTORY = "build-cache"

Made = tuple[Descriptor, Digest] | None  # a layer and its diff ID; None: nothing has changed


class StepCache:
    """The records of one store; with `enabled` false nothing is found, but results are noted."""

    def __init__(self, store: Store, *, enabled: bool = True) -> None:
        self._store = store
        self._enabled = enabled
        self._path = os.path.join(store.path, _DIRECTORY)

    def find(self, key: str) -> tuple[bool, Made]:
        """Whether the step is known, and what it made."""
        if not self._enabled:
            return False, None
        try:
            with open(os.path.join(self._path, key), encoding="utf-8") as file:
                record: dict[str, Any] = json.load(file)
            if record["layer"] is None:
                return True, None
            layer = decode_descriptor(record["layer"], where=key)
            diff_id = parse_digest(record["diffId"])
        except (OSError, ValueError, KeyError, TypeError, ExpectedError):
            return False, None
        there = self._store.has_blob(layer.digest, layer.size)
        return there, (layer, diff_id) if there else None

    def note(self, key: str, made: Made) -> None:
        """Remember what a step made.  Where that cannot be written, it is only slower the next time."""
        record = {"layer": None} if made is None else {"layer": made[0].to_json(), "diffId": str(made[1])}
        path = os.path.join(self._path, key)
        try:
            os.makedirs(self._path, exist_ok=True)
            with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
                json.dump(record, file)
            os.replace(f"{path}.{os.getpid()}", path)
        except OSError:
            return


def step_key(**parts: object) -> str:
    """The key of a step that depends on `parts`, which JSON can hold."""
    text = json.dumps({"version": _VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
