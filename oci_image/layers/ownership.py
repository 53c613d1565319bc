"""Which owner a file gets on this host: identity, a map as of a user namespace, or none at all."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.value import Value
from pyruntime.base.errors import UsageError

_MAX_ID = (1 << 32) - 2


class IdRange(Value):
    """`size` ids from `container` on are those from `host` on."""

    container: int
    host: int
    size: int

    def to_json(self) -> dict[str, int]:
        """As config.json has it."""
        return {"containerID": self.container, "hostID": self.host, "size": self.size}


class IdMap(Value):
    """Ranges of ids; without any range every id stays what it is."""

    ranges: tuple[IdRange, ...] = ()

    def to_host(self, container_id: int, kind: str) -> int:
        """The host id of `container_id`; `kind` is "uid" or "gid", for the message."""
        if not self.ranges:
            return container_id
        for span in self.ranges:
            if span.container <= container_id < span.container + span.size:
                return span.host + container_id - span.container
        count = sum(span.size for span in self.ranges)
        raise ImageError(
            f"{kind} {container_id} is not in the {kind} map, which has {count} ids",
            hint=f"map more ids with --{kind}-map, or use --rootless to give up owners",
        )


def parse_id_range(text: str) -> IdRange:
    """Parse CONTAINER:HOST[:SIZE], as umoci's options take it."""
    parts = text.split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdecimal() and len(part) <= 10 for part in parts):
        raise UsageError(f"invalid id map {text!r}", hint="write CONTAINER:HOST:SIZE, as 0:100000:65536")
    container, host, size = (*map(int, parts), 1)[:3]
    if not size or max(container, host) + size - 1 > _MAX_ID:
        raise UsageError(f"id map {text!r} is empty or out of range")
    return IdRange(container, host, size)
