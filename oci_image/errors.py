"""Failures that have to do with images; the tree they belong to is drawn in pyruntime/base/errors.py.

ExpectedError
    ImageError          the image asks for something wrong, or something that is not supported
        IntegrityError  bytes do not match the size, digest or diff ID that was promised for them
        RegistryError   a registry refused, or could not be reached
        SnapshotError   the image cannot be had as a mount on this host, or on these file systems
"""

from pyruntime.base.errors import ExpectedError


class ImageError(ExpectedError):
    """The image is malformed or hostile; `where` is the digest, file or layer entry at fault."""


class IntegrityError(ImageError):
    """Content differs from what its descriptor or the image's config promised."""

    exit_code = 3


class SnapshotError(ImageError):
    """A mounted root file system cannot be had here; a plain directory can."""


class RegistryError(ImageError):
    """A registry refused, or could not be reached; `status` is HTTP's, 0 if there was no answer."""

    exit_code = 4

    def __init__(self, what: str, *, where: str = "", hint: str = "", status: int = 0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
