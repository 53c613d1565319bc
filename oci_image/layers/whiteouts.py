"""Names by which a layer hides what the layers below it have.

Source: image-spec layer.md, "Whiteouts".
"""

from __future__ import annotations

from oci_image.errors import ImageError

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."


def is_aufs_metadata(parts: list[bytes]) -> bool:
    """Whether an entry is left over from aufs (.wh..wh.plnk and the like), which nobody unpacks."""
    return any(part.startswith(_AUFS) for part in parts) and parts[-1] != OPAQUE


def hidden_name(name: bytes) -> bytes:
    """The name that the whiteout `name` hides.

    An empty name would stand for the parent directory, "." and ".." for worse: older tools removed
    them, so they are refused (opencontainers/image-spec#1301).
    """
    hidden = name[len(PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise ImageError("whiteout hides no name of its own directory")
    return hidden
