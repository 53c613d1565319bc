"""Images and plain archives of trees: squash to one layer, export, import, insert."""

from __future__ import annotations

import os

from oci_image.errors import ImageError
from oci_image.layers.compression import READERS, detect
from oci_image.layers.limits import Limits
from oci_image.layers.metadata import Ownership
from oci_image.layers.planning import check_layers, plan_tree
from oci_image.layers.rootdir import show, split_name
from oci_image.layers.staging import open_spool
from oci_image.layers.stream import PlainStream
from oci_image.layers.tar_reader import TarReader
from oci_image.layers.whiteouts import PREFIX
from oci_image.model.image_config import decode_image_config
from oci_image.model.manifest import decode_manifest
from oci_image.model.platform import Platform, host_platform
from oci_image.pack.changes import walk
from oci_image.pack.disk import DiskTree
from oci_image.pack.image import History, load_draft, new_draft, source_date_epoch
from oci_image.pack.layer import LayerBlob, write_changes
from oci_image.pack.merged_tree import write_tree
from oci_image.pack.tar_writer import TarWriter
from oci_image.store.content import Store
from pyruntime.base.errors import HostError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from oci_image.layers.compression import ByteReader
    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.model.reference import Reference

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE = 1 << 20


def squash_image(
    layout: str,
    reference: Reference,
    tag: str,
    *,
    compression: str = "gzip",
    level: int = 0,
    history: History | None = None,
    platform: Platform | None = None,
) -> Descriptor:
    """Make one layer of all layers of an image, tagged `tag`: what upper layers hide is gone from it.

    Raises: ImageError, IntegrityError.
    """
    with Store(layout) as store, store.adding():
        manifest = store.resolve(reference, platform or host_platform())[-1]
        draft = load_draft(store, manifest)
        with LayerBlob(store, compression, level, docker=draft.is_docker) as blob:
            write_image(store, manifest, blob.archive)
            blob.archive.finish()
            layer, diff_id = blob.finish()
        draft.clear_layers()
        draft.add_layer(layer, diff_id, history)
        made = draft.store(store)
        store.tag(made, tag)
    return made


def export_image(
    layout: str, reference: Reference, target: BinaryIO, *, platform: Platform | None = None
) -> None:
    """Write the tree of an image to `target` as a plain tar archive; ImageError, IntegrityError."""
    with Store(layout) as store:
        manifest = store.resolve(reference, platform or host_platform())[-1]
        archive = TarWriter(target.write)
        write_image(store, manifest, archive)
        archive.finish()


def export_to_file(layout: str, reference: Reference, path: str, *, platform: Platform | None = None) -> None:
    """Write the tree of an image as a plain tar archive, which gets its name when it is whole.

    Raises: HostError if it cannot be written, and as `export_image`.
    """
    temporary = f"{path}.partial-{os.getpid()}"
    try:
        with open(temporary, "xb") as target:
            export_image(layout, reference, target, platform=platform)
        os.replace(temporary, path)
    except OSError as error:
        what = f"cannot write the archive: {errno_text(error.errno or 0)}"
        raise HostError(what, where=path) from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def write_image(store: Store, descriptor: Descriptor, archive: TarWriter) -> None:
    """The tree of an image of `store` as entries of a plain archive, which stays open; ImageError, IntegrityError."""
    where = str(descriptor.digest)
    manifest = decode_manifest(store.read_document(descriptor), where=where)
    image = decode_image_config(store.read_document(manifest.config), where=where)
    limits = Limits()
    check_layers(manifest, image, limits)
    layout_fd = os.open(store.path, _DIRECTORY)
    spools: list[int] = []
    try:
        spools += [open_spool(layout_fd) for _ in manifest.layers]
        write_tree(archive, plan_tree(store, manifest, image, spools, limits), spools)
    finally:
        for fd in (*spools, layout_fd):
            os.close(fd)


def import_archive(
    layout: str,
    tag: str,
    source: str | BinaryIO,
    *,
    platform: Platform | None = None,
    compression: str = "gzip",
    level: int = 0,
    history: History | None = None,
    limits: Limits | None = None,
    changes: Sequence[str] = (),
) -> Descriptor:
    """Make an image of one layer of a tar archive, a file or an open stream, plain or with gzip or zstd.

    `changes` are instructions of a Dockerfile for the image's config.  The archive is checked as a layer is.
    Raises: ImageError naming the entry at fault, UsageError for a change.
    """
    if isinstance(source, str):
        try:
            with open(source, "rb") as file:
                return import_archive(
                    layout, tag, file, platform=platform, compression=compression,
                    level=level, history=history, limits=limits, changes=changes,
                )  # fmt: skip
        except OSError as error:
            raise ImageError(f"cannot open: {errno_text(error.errno or 0)}", where=source) from None
    draft = new_draft(platform or host_platform(), history.created if history else "")
    with Store(layout) as store, store.adding():
        with LayerBlob(store, compression, level) as blob:
            layer, diff_id = _pack_archive(source, blob, limits or Limits(), is_layer=False)
        draft.add_layer(layer, diff_id, history)
        if changes:
            from oci_image.build.changes import apply_changes

            apply_changes(draft, changes)
        made = draft.store(store)
        store.tag(made, tag)
    return made


def _pack_archive(
    source: BinaryIO, blob: LayerBlob, limits: Limits, *, is_layer: bool
) -> tuple[Descriptor, Digest]:
    """Put an archive into a blob as it is, plain or compressed; whiteouts have a meaning in a layer alone."""
    pieces = _Copying(_plain(source), blob, limits)
    reader = TarReader(stream := PlainStream(pieces), limits)
    try:
        for entry in reader:
            parts = split_name(entry.name, depth=limits.path_depth, component=limits.name_bytes)
            if not is_layer and any(part.startswith(PREFIX) for part in parts):
                raise ImageError("name means a whiteout in a layer")
    except ImageError as error:
        where = f"entry {show(reader.current_name)}" if reader.current_name else error.where
        raise ImageError(error.what, where=where, hint=error.hint) from error
    stream.drain()
    return blob.finish()


def add_layer(
    layout: str,
    reference: Reference,
    archive: str,
    *,
    tag: str,
    compression: str = "auto",
    level: int = 0,
    history: History | None = None,
    limits: Limits | None = None,
) -> Descriptor:
    """Put a tar archive, plain or compressed, on top of an image as a layer, byte by byte as it is.

    Raises: ImageError naming the entry at fault; what it does to the image is not looked at.
    """
    with Store(layout) as store, store.adding():
        draft = load_draft(store, store.resolve(reference, host_platform())[-1])
        compression = draft.last_compression() if compression == "auto" else compression
        try:
            with (
                open(archive, "rb") as file,
                LayerBlob(store, compression, level, docker=draft.is_docker) as blob,
            ):
                layer, diff_id = _pack_archive(file, blob, limits or Limits(), is_layer=True)
        except OSError as error:
            raise ImageError(f"cannot read: {errno_text(error.errno or 0)}", where=archive) from None
        draft.add_layer(layer, diff_id, history)
        made = draft.store(store)
        store.tag(made, tag)
    return made


class _Copying:
    """Plain bytes for the reader, and the same for the layer."""

    def __init__(self, plain: ByteReader, blob: LayerBlob, limits: Limits) -> None:
        self._plain = plain
        self._blob = blob
        self._left = limits.layer_bytes

    def read_piece(self) -> bytes:
        piece = self._plain.read(_PIECE)
        self._left -= len(piece)
        if self._left < 0:
            raise ImageError("archive is larger than a layer may be", hint="raise the limit layer_bytes")
        self._blob.write(piece)
        return piece


def _plain(source: BinaryIO) -> ByteReader:
    first = source.read(_PIECE)
    return READERS[detect(first[:8])](_Rest(first, source))


class _Rest:
    def __init__(self, first: bytes, source: BinaryIO) -> None:
        self._first = first
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        size = size if size >= 0 else _PIECE
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._source.read(size)


def insert_tree(
    layout: str,
    reference: Reference,
    source: str,
    destination: str,
    *,
    tag: str,
    opaque: bool = False,
    rootless: bool = False,
    compression: str = "auto",
    level: int = 0,
    history: History | None = None,
) -> Descriptor:
    """Put the file or directory `source` at the path `destination` of an image, as one layer on top.

    A directory's content is merged with what the image has there, unless `opaque`.  With `rootless` root owns
    all of it.  Links in `source` are not followed.  Raises: ImageError.
    """
    where = _inside(destination)

    def write(archive: TarWriter) -> None:
        _insert(archive, source, where, opaque=opaque, ownership=Ownership(rootless=rootless))

    return _add_layer(
        layout, reference, write, tag=tag, history=history, compression=compression, level=level
    )


def insert_whiteout(
    layout: str, reference: Reference, path: str, *, tag: str, history: History | None = None
) -> Descriptor:
    """Remove `path` from an image by a layer on top; ImageError."""
    parent, _, name = _inside(path).rpartition(b"/")
    if not name:
        raise ImageError("the root cannot be removed")
    return _add_layer(
        layout, reference, lambda archive: archive.add_whiteout(parent, name), tag=tag, history=history
    )


def _add_layer(
    layout: str,
    reference: Reference,
    write: Callable[[TarWriter], None],
    *,
    tag: str,
    history: History | None,
    compression: str = "auto",
    level: int = 0,
) -> Descriptor:
    """Put a layer on top of an image, with what `write` writes into it."""
    with Store(layout) as store, store.adding():
        draft = load_draft(store, store.resolve(reference, host_platform())[-1])
        compression = draft.last_compression() if compression == "auto" else compression
        with LayerBlob(store, compression, level, docker=draft.is_docker) as blob:
            write(blob.archive)
            blob.archive.finish()
            layer, diff_id = blob.finish()
        draft.add_layer(layer, diff_id, history)
        made = draft.store(store)
        store.tag(made, tag)
    return made


def _inside(path: str) -> bytes:
    parts = split_name(os.fsencode(path), what="path")
    if any(part.startswith(PREFIX) for part in parts):
        raise ImageError("name means a whiteout in a layer", where=path)
    return b"/".join(parts)


def _insert(archive: TarWriter, source: str, where: bytes, *, opaque: bool, ownership: Ownership) -> None:
    parent, name = os.path.split(os.path.abspath(source))
    try:
        is_directory = os.path.isdir(source) and not os.path.islink(source)
        fd = os.open(source if is_directory else parent, _DIRECTORY)
    except OSError as error:
        raise ImageError(f"cannot open: {errno_text(error.errno or 0)}", where=source) from None
    try:
        tree = DiskTree(fd, ownership)
        found = tree.read() if is_directory else tree.read_one(os.fsencode(name))
        if not is_directory and not where:
            raise ImageError("the root can only be a directory", where=source)

        def rename(path: bytes) -> bytes:
            if not is_directory:
                return where
            return b"/".join(part for part in (where, path) if part)

        if opaque and is_directory:
            archive.add_opaque(where)
        paths = {each.name for each in walk(found)}
        write_changes(archive, found, fd, paths, (), source_date_epoch(), rename=rename)
    finally:
        os.close(fd)
