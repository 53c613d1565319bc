"""A bundle's root file system as an overlay: a prepared image below, the bundle's own changes above.

Inside the bundle: `upper` with the changes, `work` for the kernel, and `rootfs`, where the overlay is mounted
and unmounted by this tool alone.  A runtime sees a directory.
"""

from __future__ import annotations

import errno
import os

from oci_image.errors import ImageError, SnapshotError
from oci_image.snapshots.mounting import escape, in_initial_user_namespace, is_mounted, mount, unmount
from pyruntime.base.errors import HostError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.snapshots.place import Prepared

BUNDLE_FILE = "oci-image.json"
# What a bundle that is not finished may have in it.
BUNDLE_CONTENT = frozenset((b"rootfs", b"upper", b"work", b"config.json", BUNDLE_FILE.encode()))
_PRIVATE = 0o700


def why_not_here() -> str:
    """Why this process cannot mount overlays; "" if it can."""
    if os.geteuid() != 0:
        return "mounting takes root, of the machine or of a user namespace"
    return ""


def make_overlay(prepared: Prepared, bundle: str) -> None:
    """Make upper, work and rootfs in the directory `bundle` and mount; raises SnapshotError."""
    for name in ("upper", "work", "rootfs"):
        os.mkdir(os.path.join(bundle, name), _PRIVATE)
    copy_attributes(prepared.lower, os.path.join(bundle, "upper"))
    mount_overlay(prepared, bundle)


def mount_overlay(prepared: Prepared, bundle: str) -> None:
    """Mount the overlay of a bundle that has its directories; raises SnapshotError."""
    options = (
        f"lowerdir={escape(prepared.lower)},upperdir={escape(os.path.join(bundle, 'upper'))},"
        f"workdir={escape(os.path.join(bundle, 'work'))}"
    )
    if not in_initial_user_namespace():
        options += ",userxattr"
    try:
        mount("overlay", os.path.join(bundle, "rootfs"), "overlay", 0, options)
    except OSError as error:
        what = f"cannot mount an overlay: {errno_text(error.errno or 0)}"
        hint = "upper directories cannot lie on an overlay, and need a file system with attributes"
        raise SnapshotError(what, where=bundle, hint=hint) from None


def copy_attributes(source: str, target: str) -> None:
    """Give a new directory the attributes of another: an overlay's root looks like its upper directory."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        if not name.startswith(("security.selinux", "trusted.overlay.", "user.overlay.")):
            os.setxattr(target, name, os.getxattr(source, name))
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def mount_bundle(bundle: str) -> bool:
    """Mount the root file system of a bundle that was made with a snapshot; False if it was mounted.

    Needed after a restart of the machine and after `unmount_bundle`.  Raises ImageError, HostError.
    """
    from oci_image.snapshots.cache import SnapshotCache

    bundle = os.path.realpath(bundle)
    snapshot = _snapshot_of(bundle)
    if reason := why_not_here():
        raise HostError(f"cannot mount the bundle: {reason}", where=bundle)
    with SnapshotCache(snapshot["directory"]) as cache, cache.image_lock(snapshot["image"]):
        if is_mounted(os.path.join(bundle, "rootfs")):
            return False
        prepared = cache.find(snapshot["image"])
        if prepared is None:
            hint = (
                "unpack the image again into a new bundle; the changes of this one are in its upper directory"
            )
            raise ImageError("the bundle's image is no longer prepared", where=snapshot["image"], hint=hint)
        mount_overlay(prepared, bundle)
        cache.note_bundle(bundle, prepared.key)
    return True


def unmount_bundle(bundle: str, *, force: bool = False) -> bool:
    """Unmount the root file system of a bundle; False if it was not mounted.

    The bundle's changes stay in it.  `force` does not wait for processes that still use it.
    """
    bundle = os.path.realpath(bundle)
    _snapshot_of(bundle)
    try:
        unmount(os.path.join(bundle, "rootfs"), detach=force)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        hint = "end what uses it, or --force" if error.errno == errno.EBUSY else ""
        raise HostError(
            f"cannot unmount the bundle: {errno_text(error.errno or 0)}", where=bundle, hint=hint
        ) from None
    return True


def remove_bundle(bundle: str) -> None:
    """Remove an unmounted bundle with its changes."""
    from oci_image.layers.removal import remove_tree
    from oci_image.snapshots.cache import SnapshotCache

    bundle = os.path.realpath(bundle)
    snapshot = _snapshot_of(bundle)
    parent, name = os.path.split(bundle)
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(parent_fd, os.fsencode(name), device=os.fstat(parent_fd).st_dev)
    except OSError as error:
        raise HostError(f"cannot remove the bundle: {errno_text(error.errno or 0)}", where=bundle) from None
    finally:
        os.close(parent_fd)
    with SnapshotCache(snapshot["directory"]) as cache:
        cache.forget_bundle(bundle)


def _snapshot_of(bundle: str) -> dict[str, str]:
    import json

    from oci_image.snapshots.place import default_location

    path = os.path.join(bundle, BUNDLE_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            snapshot = json.load(file).get("snapshot")
        if snapshot is None:
            raise ImageError(
                "the bundle has a plain root file system, nothing is to be mounted", where=bundle
            )
        return {
            "image": os.path.basename(str(snapshot["image"])),
            "directory": str(snapshot.get("directory") or default_location()),
        }
    except FileNotFoundError:
        raise ImageError("not a bundle of oci-image", where=path) from None
    except (ValueError, KeyError, AttributeError) as error:
        raise ImageError(f"malformed bundle record: {error}", where=path) from None
