"""From a changed bundle back to an image: one new layer with what is different."""

from __future__ import annotations

import contextlib
import json
import os

from oci_image.errors import ImageError
from oci_image.layers.limits import Limits
from oci_image.layers.metadata import Ownership
from oci_image.layers.ownership import IdMap, IdRange
from oci_image.layers.planning import check_layers, plan_tree
from oci_image.layers.staging import open_spool
from oci_image.model.descriptor import Descriptor, decode_descriptor
from oci_image.model.document import list_of, parse_document
from oci_image.model.image_config import decode_image_config
from oci_image.model.manifest import decode_manifest
from oci_image.pack.changes import Comparison
from oci_image.pack.disk import DiskTree
from oci_image.pack.image import History, ImageDraft, load_draft, source_date_epoch
from oci_image.pack.layer import LayerBlob, write_changes
from oci_image.pack.overlay_changes import OverlayChanges
from oci_image.snapshots.overlay import BUNDLE_FILE
from oci_image.snapshots.place import is_ready, lower_of
from oci_image.store.content import Store
from oci_image.value import Value, fresh
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from oci_image.model.digest import Digest
    from oci_image.model.image_config import ImageConfig
    from oci_image.model.manifest import Manifest

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RepackOptions(Value):
    """How to repack.

    `compression` "auto" is that of the image's last layer; level 0 is the usual one.  Below `mask_paths`, and
    below the image's volumes unless `mask_volumes` is false, nothing counts as changed.  With `refresh` the
    bundle is one of the new image from then on.  `history` None makes no entry.  `changes` are instructions of a
    Dockerfile for the image's config, and `author` is its author.
    """

    compression: str = "auto"
    level: int = 0
    mask_paths: tuple[str, ...] = ()
    mask_volumes: bool = True
    refresh: bool = False
    history: History | None = fresh(default_factory=lambda: History(created_by="oci-image repack"))
    limits: Limits = fresh(default_factory=Limits)
    changes: tuple[str, ...] = ()
    author: str = ""


class Changes(Value):
    """Paths from the root, sorted: new ones, those with other content or attributes, and those gone."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class Repacked(Value):
    """The new manifest, and the new layer; None if nothing has changed."""

    manifest: Descriptor
    layer: Descriptor | None
    changes: Changes
    skipped: tuple[str, ...] = ()


class _Bundle(Value):
    path: str
    record: dict[str, Any]
    chain: tuple[Descriptor, ...]
    ownership: Ownership


def diff_bundle(layout: str, bundle: str, options: RepackOptions | None = None) -> Changes:
    """What has changed in a bundle's root file system since its image was unpacked; nothing is written."""
    options = options or RepackOptions()
    with (
        Store(layout) as store,
        contextlib.closing(_Difference(store, _read_bundle(bundle), options)) as found,
    ):
        return found.changes()


def repack_bundle(layout: str, tag: str, bundle: str, options: RepackOptions | None = None) -> Repacked:
    """Pack what has changed in `bundle` into a layer on top of its image, tagged `tag` in `layout`.

    The layout must be the one that the bundle was unpacked from, or have that image.  Without a change the
    image gets the tag and no layer.  SOURCE_DATE_EPOCH lowers newer times and dates the history: the same
    changes then make the same image.

    Raises: ImageError, IntegrityError, UsageError.
    """
    options = options or RepackOptions()
    with Store(layout) as store, store.adding():
        source = _read_bundle(bundle)
        layer = None
        manifest = source.chain[-1]
        with contextlib.closing(_Difference(store, source, options)) as difference:
            changes = difference.changes()
            changes_config = _change_config(difference.draft, options)
            if changes:
                layer = difference.write_layer(difference.draft)
            elif changes_config and options.history:
                difference.draft.add_history(options.history, empty_layer=True)
            if changes or changes_config:
                manifest = difference.draft.store(store)
        store.tag(manifest, tag)
        if options.refresh and changes:
            _refresh(source, manifest)
    return Repacked(manifest, layer, changes, tuple(difference.skipped))


def _change_config(draft: ImageDraft, options: RepackOptions) -> bool:
    if options.author:
        draft.config["author"] = options.author
    if options.changes:
        from oci_image.build.changes import apply_changes

        apply_changes(draft, options.changes)
    return bool(options.author or options.changes)


class _Difference:
    """Reads image and tree once, and holds what both the list of changes and the layer are made from.

    Of a mounted bundle only what is in its upper directory is read, and compared with the tree below.
    """

    def __init__(self, store: Store, bundle: _Bundle, options: RepackOptions) -> None:
        self._store = store
        self._bundle = bundle
        self._options = options
        self.draft = load_draft(store, bundle.chain[-1])
        self._image = _read_image(store, bundle.chain[-1])
        masked = [*options.mask_paths, *(self._image[1].volumes if options.mask_volumes else ())]
        self._masked = {os.fsencode(path).strip(b"/") for path in masked} - {b""}
        self._compared: Comparison | OverlayChanges
        lower = _lower_of(bundle)
        if lower:
            upper = os.path.join(bundle.path, "upper")
            self._compared = OverlayChanges(upper, lower, bundle.ownership)
            self.skipped = self._compared.tree.skipped
            try:
                self._compared.keep_differences(self._masked)
            except OSError as error:
                raise self._unreadable(error) from error
            return
        root_fd = _open_root(bundle.path)
        try:
            tree = DiskTree(root_fd, bundle.ownership)
            self._found = tree.read()
            self.skipped = tree.skipped
            self._compared = self._compare(root_fd)
        finally:
            os.close(root_fd)

    def close(self) -> None:
        """Give descriptors back."""
        if isinstance(self._compared, OverlayChanges):
            self._compared.close()

    def _unreadable(self, error: OSError) -> ImageError:
        return ImageError(f"cannot compare: {errno_text(error.errno or 0)}", where=self._bundle.path)

    def _compare(self, root_fd: int) -> Comparison:
        manifest, image = self._image
        check_layers(manifest, image, self._options.limits)
        bundle_fd = os.open(self._bundle.path, _DIRECTORY)
        spools = []
        try:
            spools += [open_spool(bundle_fd) for _ in manifest.layers]
            old = plan_tree(self._store, manifest, image, spools, self._options.limits)
            compared = Comparison(
                old, self._found, spools, root_fd,
                masked=self._masked, rootless=self._bundle.ownership.rootless,
            )  # fmt: skip
            compared.run()
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            for fd in (*spools, bundle_fd):
                os.close(fd)
        return compared

    def changes(self) -> Changes:
        """What is different."""
        compared = self._compared
        return Changes(
            added=_shown(compared.added),
            changed=_shown(compared.written - compared.added),
            removed=_shown(compared.removed),
        )

    def write_layer(self, draft: ImageDraft) -> Descriptor:
        """Put the layer into the store and on top of the draft."""
        options = self._options
        compression = draft.last_compression() if options.compression == "auto" else options.compression
        if isinstance(self._compared, OverlayChanges):
            latest = source_date_epoch()
            layer, diff_id = self._compared.write(
                self._store, compression, options.level, latest, docker=draft.is_docker
            )
        else:
            layer, diff_id = self._write_all(self._compared, compression, docker=draft.is_docker)
        draft.add_layer(layer, diff_id, options.history)
        draft.config["created"] = (
            draft.config["history"][-1]["created"]
            if options.history
            else (History().to_json(empty_layer=False)["created"])
        )
        return layer

    def _write_all(
        self, compared: Comparison, compression: str, *, docker: bool
    ) -> tuple[Descriptor, Digest]:
        root_fd = _open_root(self._bundle.path)
        try:
            with LayerBlob(self._store, compression, self._options.level, docker=docker) as blob:
                latest = source_date_epoch()
                write_changes(blob.archive, self._found, root_fd, compared.written, compared.removed, latest)
                blob.archive.finish()
                return blob.finish()
        finally:
            os.close(root_fd)


def _read_image(store: Store, descriptor: Descriptor) -> tuple[Manifest, ImageConfig]:
    where = str(descriptor.digest)
    manifest = decode_manifest(store.read_document(descriptor), where=where)
    return manifest, decode_image_config(store.read_document(manifest.config), where=where)


def _lower_of(bundle: _Bundle) -> str:
    """The tree under a mounted bundle's changes; "" if that is not there, or not the bundle's image any more."""
    snapshot = bundle.record.get("snapshot")
    if not isinstance(snapshot, dict) or bundle.record.get("refreshed") or bundle.ownership.rootless:
        return ""
    place = [str(snapshot.get(name) or "") for name in ("directory", "image", "form")]
    if not all(place) or os.path.basename(place[1]) != place[1] or not is_ready(*place):
        return ""
    return lower_of(*place)


def _shown(paths: set[bytes]) -> tuple[str, ...]:
    return tuple("/" + os.fsdecode(path) for path in sorted(paths))


def _open_root(bundle: str) -> int:
    path = os.path.join(bundle, "rootfs")
    try:
        return os.open(path, _DIRECTORY)
    except OSError as error:
        what = f"cannot open the root file system: {errno_text(error.errno or 0)}"
        raise ImageError(what, where=path, hint="is it a bundle, and mounted?") from None


def _read_bundle(path: str) -> _Bundle:
    where = os.path.join(path, BUNDLE_FILE)
    try:
        with open(where, "rb") as file:
            record = parse_document(file.read(), where=where)
    except OSError as error:
        what = f"cannot read the bundle's origin: {errno_text(error.errno or 0)}"
        raise ImageError(
            what, where=where, hint="only bundles made by oci-image unpack can be packed"
        ) from None
    if record.get("version") != 1:
        raise ImageError(f"bundle has version {record.get('version')!r}, not 1", where=where)
    chain = tuple(
        decode_descriptor(value, where=where) for value in list_of(record, "descriptors", where=where)
    )
    if not chain:
        raise ImageError("bundle names no image", where=where)
    maps = [IdMap(tuple(_ranges(record, name, where))) for name in ("uidMappings", "gidMappings")]
    return _Bundle(path, record, chain, Ownership(maps[0], maps[1], bool(record.get("rootless"))))


def _ranges(record: dict[str, Any], name: str, where: str) -> Iterator[IdRange]:
    for value in list_of(record, name, where=where):
        try:
            yield IdRange(int(value["containerID"]), int(value["hostID"]), int(value["size"]))
        except (KeyError, TypeError, ValueError):
            raise ImageError(f"{name} is malformed", where=where) from None


def _refresh(bundle: _Bundle, manifest: Descriptor) -> None:
    """Note that the bundle is now an unchanged one of the new image."""
    # The tree below is that of the image before, so from now on the whole tree has to be compared.
    record = {**bundle.record, "descriptors": [manifest.to_json()], "refreshed": True}
    final = os.path.join(bundle.path, BUNDLE_FILE)
    temporary = f"{final}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2)
        file.write("\n")
    os.replace(temporary, final)
