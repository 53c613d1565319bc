"""Preparing an image: its plain layers and an EROFS image over them, or one directory tree."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import os

from oci_image.errors import IntegrityError
from oci_image.layers.indexing import Item, index_layer, index_plain, pack_items, unpack_items
from oci_image.layers.planning import merge_layers, named_layer
from oci_image.layers.removal import remove_tree
from oci_image.layers.staging import clean_staging, make_staging
from oci_image.layers.unpacking import unpack_layers
from oci_image.layers.workers import processors, run_balanced
from oci_image.model.descriptor import Descriptor
from oci_image.snapshots.cache import (
    STAGED,
    SnapshotCache,
    refuse_form,
    write_record,
)
from oci_image.snapshots.erofs import UnsuitableError, write_image
from oci_image.snapshots.mounting import in_initial_user_namespace, unmount
from oci_image.snapshots.place import TREES, Prepared, boot_id
from oci_image.store.verified import VerifiedReader
from pyruntime.base.errors import ExpectedError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.layers.limits import Limits
    from oci_image.layers.metadata import Ownership
    from oci_image.model.digest import Digest
    from oci_image.model.image_config import ImageConfig
    from oci_image.model.manifest import Manifest
    from oci_image.store.layout import Layout

_BLOCK = 512
_libc = ctypes.CDLL(None, use_errno=True)


class Preparer:
    """Prepares one image in a cache, whose form may be "erofs", "directory" or "auto"."""

    def __init__(
        self,
        cache: SnapshotCache,
        images: Layout,
        manifest: Manifest,
        image: ImageConfig,
        ownership: Ownership,
        limits: Limits,
        *,
        keep_links: bool = False,
    ) -> None:
        self._cache = cache
        self._images = images
        self._manifest = manifest
        self._image = image
        self._ownership = ownership
        self._limits = limits
        self._keep_links = keep_links

    def prepare(self, form: str) -> Prepared:
        """The image, prepared now if it is not yet.  Raises ExpectedError."""
        reason = self._why_not_erofs()
        if form == "erofs" and reason:
            raise refuse_form(form, reason)
        forms = [form] if form != "auto" else ["directory"] if reason else ["erofs", "directory"]
        for candidate in forms:
            key = self._key(candidate)
            try:
                with self._cache.image_lock(key):
                    found = self._cache.find(key)
                    return found or self._make(key, candidate)
            except (UnsuitableError, OSError) as error:
                reason = str(error) if isinstance(error, UnsuitableError) else errno_text(error.errno or 0)
                if candidate == forms[-1] or (isinstance(error, OSError) and error.errno not in _NOT_HERE):
                    raise refuse_form(candidate, reason) from error
        raise AssertionError

    def _why_not_erofs(self) -> str:
        ownership = self._ownership
        if ownership.rootless or not in_initial_user_namespace():
            return "it takes root of the machine"
        if ownership.uid_map.ranges or ownership.gid_map.ranges:
            return "owners are to be mapped"
        return ""

    def _key(self, form: str) -> str:
        """Equal for images with equal layers that are prepared alike."""
        ownership = self._ownership
        parts = [TREES, form, str(self._keep_links), *map(str, self._image.diff_ids)]
        if form == "directory":
            parts += [str(ownership.uid_map), str(ownership.gid_map), str(ownership.rootless)]
            parts.append(str(os.geteuid()))
        return f"{form}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}"

    def _make(self, key: str, form: str) -> Prepared:
        images_fd = os.open(os.path.join(self._cache.path, "images"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            clean_staging(images_fd, STAGED)
            staging, fd = make_staging(images_fd, key)
            path = os.path.join(self._cache.path, "images", staging)
            try:
                record = self._make_erofs(path) if form == "erofs" else self._make_directory(fd)
                write_record(path, {**record, "form": form, "boot": boot_id()})
                os.rename(staging, key, src_dir_fd=images_fd, dst_dir_fd=images_fd)
            except BaseException:
                remove_tree(images_fd, os.fsencode(staging), device=os.fstat(images_fd).st_dev)
                raise
            finally:
                os.close(fd)
        finally:
            os.close(images_fd)
        found = self._cache.find(key)
        if found is None:
            raise refuse_form(form, "what was just made is damaged")
        return found

    def _make_directory(self, staging_fd: int) -> dict[str, Any]:
        notices = unpack_layers(
            self._images,
            self._manifest,
            self._image,
            spool_fd=staging_fd,
            make_root=lambda: _make_root(staging_fd),
            ownership=self._ownership,
            limits=self._limits,
            keep_links=self._keep_links,
        )
        # A tree has no digest that could be verified after a crash of the machine.
        _libc.syncfs(staging_fd)
        return {"layers": [], "notices": list(notices)}

    def _make_erofs(self, path: str) -> dict[str, Any]:
        self._try_mounting(path)
        diff_ids = self._image.diff_ids
        different = dict(zip(diff_ids, self._manifest.layers, strict=True))
        jobs = [functools.partial(self._index, digest, layer) for digest, layer in different.items()]
        costs = [layer.size for layer in different.values()]
        found = run_balanced(jobs, costs, processors(), take=_unpack)
        results = dict(zip(different, found, strict=True))
        indexes = [results[digest][0] for digest in diff_ids]
        tree = merge_layers(self._manifest, indexes, self._limits, keep_links=self._keep_links)
        sizes = [results[digest][1] for digest in diff_ids]
        image, dropped = write_image(tree, sizes)
        with open(os.path.join(path, "image.erofs"), "xb") as file:
            file.write(image)
        os.mkdir(os.path.join(path, "mount"), 0o700)
        return {
            "image": hashlib.sha256(image).hexdigest(),
            "layers": [
                {"digest": str(digest), "size": size} for digest, size in zip(diff_ids, sizes, strict=True)
            ],
            "notices": [f"extended attribute {name} is not unpacked" for name in dropped],
        }

    def _try_mounting(self, path: str) -> None:
        """Find out with an empty image whether this kernel and file system can do it; raises OSError."""
        from oci_image.layers.merged import MergedTree

        probe, target = os.path.join(path, "image.erofs"), os.path.join(path, "mount")
        with open(probe, "xb") as file:
            file.write(write_image(MergedTree(self._limits).root, [])[0].ljust(4096, b"\0"))
        os.mkdir(target, 0o700)
        try:
            self._cache.mount_image(probe, target, [])
            unmount(target)
        finally:
            os.rmdir(target)
            os.unlink(probe)

    def _index(self, diff_id: Digest, layer: Descriptor) -> tuple[bytes, int]:
        """Packed items and size of a plain layer, which is in the cache afterwards."""
        try:
            return self._index_kept(diff_id)
        except (FileNotFoundError, IntegrityError):
            pass
        position = self._manifest.layers.index(layer)
        try:
            directory_fd = os.open(os.path.join(self._cache.path, "layers"), os.O_RDONLY | os.O_DIRECTORY)
            try:
                spool = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
                items = index_layer(self._images.open_blob(layer), layer.size, diff_id, spool, self._limits)
                size = os.fstat(spool).st_size
                os.ftruncate(spool, -(-size // _BLOCK) * _BLOCK)
                self._publish(spool, directory_fd, diff_id)
                os.close(spool)
            finally:
                os.close(directory_fd)
        except ExpectedError as error:
            raise named_layer(error, layer, position, len(self._manifest.layers)) from error
        return items, size

    def _publish(self, spool: int, directory_fd: int, diff_id: Digest) -> None:
        """Give the file its name; one that was there and is damaged is replaced."""
        path = self._cache.layer_path(diff_id)
        temporary = f"{path}.{os.getpid()}"
        # With a directory's descriptor Python calls linkat, which alone can follow the link below /proc.
        os.link(f"/proc/self/fd/{spool}", temporary, src_dir_fd=directory_fd, follow_symlinks=True)
        os.replace(temporary, path)

    def _index_kept(self, diff_id: Digest) -> tuple[bytes, int]:
        """A layer that another image has brought; verified on the way, as every layer is."""
        fd = os.open(self._cache.layer_path(diff_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        size = os.fstat(fd).st_size
        reader = VerifiedReader(fd, Descriptor("", diff_id, size))
        try:
            reader.finish()
            return pack_items(index_plain(fd, size, self._limits)), size
        finally:
            reader.close()


def _make_root(staging_fd: int) -> int:
    os.mkdir("tree", 0o700, dir_fd=staging_fd)
    return os.open("tree", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staging_fd)


def _unpack(answer: tuple[bytes, int]) -> tuple[list[Item], int]:
    return unpack_items(answer[0]), answer[1]


# The answers of kernels and file systems that have no EROFS on files: before 6.12, tmpfs, overlay.
_NOT_HERE = (
    errno.ENODEV, errno.ENOTBLK, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.EACCES, errno.EISDIR,
)  # fmt: skip
