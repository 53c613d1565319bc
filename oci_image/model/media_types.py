"""Media types by their role in an image.

Source: image-spec media-types.md; the Docker names are the ones its manifest v2 schema 2 defines.
"""

from __future__ import annotations

INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
MANIFESTS = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)

# Layer media type -> name of the compression that the label promises.
LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "none",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "none",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "none",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}


def essence(media_type: str) -> str:
    """The media type without parameters, which is what types are compared by."""
    return media_type.partition(";")[0].strip()


_DOCKER = "application/vnd.docker."
_OCI = "application/vnd.oci.image."
_OCI_TO_DOCKER = {
    _OCI + "index.v1+json": _DOCKER + "distribution.manifest.list.v2+json",
    _OCI + "manifest.v1+json": _DOCKER + "distribution.manifest.v2+json",
    _OCI + "config.v1+json": _DOCKER + "container.image.v1+json",
    _OCI + "layer.v1.tar": _DOCKER + "image.rootfs.diff.tar",
    _OCI + "layer.v1.tar+gzip": _DOCKER + "image.rootfs.diff.tar.gzip",
    _OCI + "layer.v1.tar+zstd": _DOCKER + "image.rootfs.diff.tar.zstd",
    _OCI + "layer.nondistributable.v1.tar": _DOCKER + "image.rootfs.foreign.diff.tar",
    _OCI + "layer.nondistributable.v1.tar+gzip": _DOCKER + "image.rootfs.foreign.diff.tar.gzip",
}
_DOCKER_TO_OCI = {docker: oci for oci, docker in _OCI_TO_DOCKER.items()}


def converted_type(media_type: str, form: str) -> str:
    """The name of the same thing in the form "oci" or "docker"; a type that is only in one stays."""
    table = _OCI_TO_DOCKER if form == "docker" else _DOCKER_TO_OCI
    return table.get(media_type, media_type)
