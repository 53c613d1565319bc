"""Parts of what unpacking and packing do, each for itself: a tree without a bundle, a config.json, a layer as it is."""

from __future__ import annotations

import json
import os

from oci_image.accounts import resolve_user
from oci_image.bundle import make_runtime_config
from oci_image.errors import ImageError
from oci_image.layers.limits import Limits
from oci_image.layers.metadata import Ownership
from oci_image.layers.openat2 import rename_without_replacing
from oci_image.layers.ownership import IdMap
from oci_image.layers.planning import check_layers
from oci_image.layers.rootdir import RootDirectory
from oci_image.layers.staging import make_staging, remove_staging
from oci_image.layers.unpacking import unpack_layers
from oci_image.model.document import MAX_DOCUMENT_BYTES
from oci_image.model.image_config import decode_image_config
from oci_image.model.manifest import decode_manifest
from oci_image.model.platform import host_platform
from oci_image.store.content import Store
from oci_image.transports.directory import describe_document
from pyruntime.base.errors import HostError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.model.platform import Platform
    from oci_image.model.reference import Reference
    from oci_image.store.layout import Layout

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def make_tree(
    images: Layout,
    manifest: Descriptor,
    directory_fd: int,
    ownership: Ownership,
    limits: Limits | None = None,
    *,
    keep_links: bool = False,
) -> tuple[str, ...]:
    """Make the tree of an image in an empty directory; what could not be kept.  Raises: ImageError, IntegrityError."""
    where = str(manifest.digest)
    limits = limits or Limits()
    decoded = decode_manifest(images.read_document(manifest), where=where)
    image = decode_image_config(images.read_document(decoded.config), where=where)
    check_layers(decoded, image, limits)
    return unpack_layers(
        images,
        decoded,
        image,
        spool_fd=directory_fd,
        make_root=lambda: os.dup(directory_fd),
        ownership=ownership,
        limits=limits,
        keep_links=keep_links,
    )


def unpack_tree(
    layout: str,
    reference: Reference,
    directory: str,
    *,
    platform: Platform | None = None,
    uid_map: IdMap | None = None,
    gid_map: IdMap | None = None,
    rootless: bool = False,
    keep_dirlinks: bool = False,
    limits: Limits | None = None,
) -> tuple[str, ...]:
    """Unpack an image into the new directory `directory`, without a bundle around it; what could not be kept.

    Raises: ImageError, IntegrityError, HostError; nothing is left then.
    """
    if os.geteuid() != 0 and not rootless:
        hint = "use --rootless to give up owners and devices"
        raise HostError("unpacking with owners needs root", hint=hint)
    ownership = Ownership(uid_map or IdMap(), gid_map or IdMap(), rootless)
    parent, name = os.path.split(os.path.abspath(directory))
    with Store(layout) as images:
        manifest = images.resolve(reference, platform or host_platform())[-1]
        try:
            parent_fd = os.open(parent, _DIRECTORY)
        except OSError as error:
            raise HostError(f"cannot open: {errno_text(error.errno or 0)}", where=parent) from None
        try:
            hidden, fd = make_staging(parent_fd, name)
            try:
                os.mkdir("rootfs", 0o700, dir_fd=fd)
                root_fd = os.open("rootfs", _DIRECTORY, dir_fd=fd)
                try:
                    notices = make_tree(
                        images, manifest, root_fd, ownership, limits, keep_links=keep_dirlinks
                    )
                finally:
                    os.close(root_fd)
                rename_without_replacing(parent_fd, f"{hidden}/rootfs", name)
            finally:
                remove_staging(parent_fd, hidden, fd)
                os.close(fd)
        except FileExistsError:
            hint = "choose another one or remove it first"
            raise ImageError("directory already exists", where=directory, hint=hint) from None
        except OSError as error:
            raise HostError(f"cannot write: {errno_text(error.errno or 0)}", where=directory) from error
        finally:
            os.close(parent_fd)
    return notices


def write_runtime_config(
    layout: str,
    reference: Reference,
    path: str,
    *,
    root: str = "",
    platform: Platform | None = None,
    uid_map: IdMap | None = None,
    gid_map: IdMap | None = None,
) -> None:
    """Write the config.json of an image alone; names of users are looked up in the tree `root`, if there is one.

    Raises: ImageError for a name that is not there, HostError.
    """
    with Store(layout) as images:
        manifest = images.resolve(reference, platform or host_platform())[-1]
        decoded = decode_manifest(images.read_document(manifest), where=str(manifest.digest))
        image = decode_image_config(images.read_document(decoded.config), where=str(decoded.config.digest))
    try:
        # Without a tree numbers alone mean something: this directory has no files of accounts.
        root_fd = os.open(root or "/proc/self/fdinfo", _DIRECTORY)
    except OSError as error:
        raise HostError(f"cannot open: {errno_text(error.errno or 0)}", where=root) from None
    try:
        user = resolve_user(image.user, RootDirectory(root_fd))
    except ImageError as error:
        hint = "" if root else "names are looked up in --rootfs"
        raise ImageError(error.what, where=error.where, hint=error.hint or hint) from None
    finally:
        os.close(root_fd)
    uid_map, gid_map = uid_map or IdMap(), gid_map or IdMap()
    mapped = bool(uid_map.ranges or gid_map.ranges)
    config = make_runtime_config(image, user, user_namespace=mapped, uid_map=uid_map, gid_map=gid_map)
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise HostError(f"cannot write: {errno_text(error.errno or 0)}", where=path) from None


def digest_of_manifest(path: str) -> Digest:
    """The digest that a registry would give the manifest or index in a file.  Raises: ImageError, HostError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise HostError(f"cannot read: {errno_text(error.errno or 0)}", where=path) from None
    return describe_document(data, where=path).digest
