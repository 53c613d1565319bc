"""Making a runtime bundle of an image: the whole of it, or nothing.

The bundle grows in a hidden directory beside its final name, closed to everybody else because of the
set-id programs and devices in it, and gets its name when everything has been verified.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os

from oci_image.accounts import resolve_user
from oci_image.bundle import make_runtime_config
from oci_image.errors import ImageError, SnapshotError
from oci_image.layers.limits import Limits
from oci_image.layers.metadata import Ownership
from oci_image.layers.openat2 import rename_without_replacing
from oci_image.layers.ownership import IdMap, IdRange
from oci_image.layers.planning import check_layers
from oci_image.layers.rootdir import RootDirectory
from oci_image.layers.staging import clean_staging, make_staging, remove_staging
from oci_image.layers.unpacking import unpack_layers
from oci_image.model.image_config import ImageConfig, decode_image_config
from oci_image.model.manifest import Manifest, decode_manifest
from oci_image.model.platform import Platform, host_platform
from oci_image.snapshots.overlay import BUNDLE_CONTENT, BUNDLE_FILE, make_overlay, why_not_here
from oci_image.snapshots.place import default_location
from oci_image.store.layout import Layout
from oci_image.value import Value, fresh
from pyruntime.base.errors import HostError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.reference import Reference

_BUNDLE_VERSION = 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnpackOptions(Value):
    """How to unpack.

    Without maps ids stay what they are.  With maps, or `rootless`, config.json asks for a user
    namespace with the same maps.  `rootless` gives all files to the caller and notes other owners in the
    attribute user.rootlesscontainers, devices become empty files.
    """

    platform: Platform | None = None  # None: this machine's
    uid_map: IdMap = IdMap()
    gid_map: IdMap = IdMap()
    rootless: bool = False
    keep_dirlinks: bool = False
    terminal: bool = False
    limits: Limits = fresh(default_factory=Limits)
    snapshot: str = "none"  # or "auto", "erofs", "directory": mount a prepared image
    snapshots: str = ""  # the directory of prepared images; "": the usual one


class UnpackedBundle(Value):
    """A finished bundle: its path, the chain of descriptors down to the manifest, and what was not kept."""

    path: str
    chain: tuple[Descriptor, ...]
    image: ImageConfig
    notices: tuple[str, ...] = ()
    snapshot: dict[str, str] | None = None  # image, form and directory, if the root is a mount


def unpack_image(layout: str, reference: Reference, bundle: str, options: UnpackOptions) -> UnpackedBundle:
    """Unpack the image `reference` of the OCI layout directory `layout` into the new directory `bundle`.

    While files are made the process's umask is 0.  Whatever is raised, nothing is left under the name `bundle`
    nor beside it.

    Raises: ImageError, IntegrityError, HostError.
    """
    if os.geteuid() != 0 and not options.rootless:
        raise HostError(
            "unpacking with owners needs root", hint="use --rootless to give up owners and devices"
        )
    parent_path, name = os.path.split(os.path.abspath(bundle))
    with Layout(layout) as images:
        chain = images.resolve(reference, options.platform or host_platform())
        manifest_text = str(chain[-1].digest)
        manifest = decode_manifest(images.read_document(chain[-1]), where=manifest_text)
        image = decode_image_config(images.read_document(manifest.config), where=str(manifest.config.digest))
        check_layers(manifest, image, options.limits)
        parent_fd = _open_parent(parent_path, name)
        # Hundreds of thousands of objects without a cycle: looking for cycles takes a quarter of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            source = _Source(images, chain, manifest, image)
            notices, snapshot = _make_bundle(source, parent_fd, parent_path, name, options)
        finally:
            if collecting:
                gc.enable()
            os.close(parent_fd)
    return UnpackedBundle(os.path.join(parent_path, name), chain, image, notices, snapshot)


def _open_parent(parent_path: str, name: str) -> int:
    try:
        parent_fd = os.open(parent_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        what = f"cannot open the bundle's parent directory: {errno_text(error.errno or 0)}"
        raise ImageError(what, where=parent_path) from None
    try:
        os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return parent_fd
    os.close(parent_fd)
    raise _exists(os.path.join(parent_path, name))


def _exists(path: str) -> ImageError:
    return ImageError("bundle already exists", where=path, hint="choose another directory or remove it first")


class _Source(Value):
    """An image that was found: its layout, the chain down to its manifest, and its documents."""

    images: Layout
    chain: tuple[Descriptor, ...]
    manifest: Manifest
    image: ImageConfig


def _make_bundle(
    source: _Source, parent_fd: int, parent_path: str, name: str, options: UnpackOptions
) -> tuple[tuple[str, ...], dict[str, str] | None]:
    staging = ""
    fd = -1
    try:
        clean_staging(parent_fd, BUNDLE_CONTENT)
        staging, fd = make_staging(parent_fd, name)
        path = os.path.join(parent_path, staging)
        final = os.path.join(parent_path, name)
        notices, snapshot = _fill_bundle(source, fd, path, final, options)
        try:
            rename_without_replacing(parent_fd, staging, name)
        except FileExistsError:
            raise _exists(name) from None
    except BaseException as error:
        if staging:
            remove_staging(parent_fd, staging, fd)
        if isinstance(error, OSError):
            raise ImageError(f"cannot make the bundle: {errno_text(error.errno or 0)}", where=name) from error
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    return notices, snapshot


def _fill_bundle(
    source: _Source, bundle_fd: int, path: str, final: str, options: UnpackOptions
) -> tuple[tuple[str, ...], dict[str, str] | None]:
    options = _with_rootless_maps(options)
    notices: tuple[str, ...] = ()
    snapshot: dict[str, str] | None = None
    if options.snapshot != "none":
        try:
            snapshot, notices = _mount_root(source, path, final, options)
        except SnapshotError as error:
            if options.snapshot != "auto":
                raise
            notices = (f"the root file system is a plain directory: {error.what}",)
            for name in ("upper", "work", "rootfs"):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(name, dir_fd=bundle_fd)
    if snapshot is None:
        notices += _fill_root(source, bundle_fd, options)
    _write_documents(source, bundle_fd, options, snapshot)
    return notices, snapshot


def _mount_root(
    source: _Source, path: str, final: str, options: UnpackOptions
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Mount the prepared image, prepared now if need be; what the record says of it, and notices."""
    from oci_image.snapshots.cache import SnapshotCache
    from oci_image.snapshots.preparing import Preparer

    if reason := why_not_here():
        raise SnapshotError(f"cannot mount: {reason}", hint="--snapshot none makes a plain directory")
    location = os.path.abspath(options.snapshots or default_location())
    with SnapshotCache(location) as cache:
        preparer = Preparer(
            cache, source.images, source.manifest, source.image, _ownership(options), options.limits,
            keep_links=options.keep_dirlinks,
        )  # fmt: skip
        prepared = preparer.prepare(options.snapshot)
        make_overlay(prepared, path)
        real = os.path.join(os.path.realpath(os.path.dirname(final)), os.path.basename(final))
        cache.note_bundle(real, prepared.key, path)
    return {"image": prepared.key, "form": prepared.form, "directory": location}, prepared.notices


def _ownership(options: UnpackOptions) -> Ownership:
    return Ownership(options.uid_map, options.gid_map, options.rootless)


def _fill_root(source: _Source, bundle_fd: int, options: UnpackOptions) -> tuple[str, ...]:
    """Make a plain root file system; notices."""
    return unpack_layers(
        source.images,
        source.manifest,
        source.image,
        spool_fd=bundle_fd,
        make_root=lambda: _make_root(bundle_fd),
        ownership=_ownership(options),
        limits=options.limits,
        keep_links=options.keep_dirlinks,
    )


def _write_documents(
    source: _Source, bundle_fd: int, options: UnpackOptions, snapshot: dict[str, str] | None
) -> None:
    root_fd = os.open("rootfs", _DIRECTORY, dir_fd=bundle_fd)
    try:
        user = resolve_user(source.image.user, RootDirectory(root_fd))
    finally:
        os.close(root_fd)
    config = make_runtime_config(
        source.image,
        user,
        user_namespace=bool(options.rootless or options.uid_map.ranges or options.gid_map.ranges),
        uid_map=options.uid_map,
        gid_map=options.gid_map,
        terminal=options.terminal,
    )
    _write_json(bundle_fd, "config.json", config)
    record = _bundle_record(source.chain, options)
    if snapshot is not None:
        record["snapshot"] = snapshot
    _write_json(bundle_fd, BUNDLE_FILE, record)


def _with_rootless_maps(options: UnpackOptions) -> UnpackOptions:
    """Rootless without maps means: the caller is root in the container, and there is nobody else."""
    if not options.rootless:
        return options
    uid_map = options.uid_map if options.uid_map.ranges else IdMap((IdRange(0, os.geteuid(), 1),))
    gid_map = options.gid_map if options.gid_map.ranges else IdMap((IdRange(0, os.getegid(), 1),))
    return options.replace(uid_map=uid_map, gid_map=gid_map)


def _make_root(bundle_fd: int) -> int:
    """Make rootfs/ and return its descriptor, freed of what it may inherit from its surroundings."""
    os.fchmod(bundle_fd, 0o700)
    os.mkdir("rootfs", 0o700, dir_fd=bundle_fd)
    fd = os.open("rootfs", _DIRECTORY, dir_fd=bundle_fd)
    # A set-gid parent would hand its group to every file, a default ACL would change every mode.
    os.fchown(fd, os.geteuid(), os.getegid())
    os.fchmod(fd, 0o700)
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        try:
            os.removexattr(fd, name)
        except OSError:
            continue
    return fd


def _bundle_record(chain: tuple[Descriptor, ...], options: UnpackOptions) -> dict[str, Any]:
    """What later verbs need to know of the bundle's origin."""
    return {
        "version": _BUNDLE_VERSION,
        "descriptors": [descriptor.to_json() for descriptor in chain],
        "uidMappings": [span.to_json() for span in options.uid_map.ranges],
        "gidMappings": [span.to_json() for span in options.gid_map.ranges],
        "rootless": options.rootless,
    }


def _write_json(bundle_fd: int, name: str, value: dict[str, Any]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o644, dir_fd=bundle_fd)
    os.fchmod(fd, 0o644)  # whatever the umask
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
