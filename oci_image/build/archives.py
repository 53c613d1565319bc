"""Archives that ADD unpacks: told by their content, read as layers are, into a directory of their own."""

from __future__ import annotations

import bz2
import lzma
import os
from typing import IO, TYPE_CHECKING, cast

from oci_image.build.sources import Source
from oci_image.errors import ImageError
from oci_image.layers.compression import READERS, detect
from oci_image.layers.create import create_tree
from oci_image.layers.indexing import HIDE, HIDE_ALL, index_archive
from oci_image.layers.limits import Limits
from oci_image.layers.merged import MergedTree
from oci_image.layers.metadata import Ownership
from oci_image.layers.rootdir import show
from oci_image.layers.staging import open_spool
from oci_image.layers.tar_header import BLOCK, parse_header
from oci_image.layers.workers import processors
from oci_image.pack.disk import DiskTree, open_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.layers.compression import ByteReader

_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack_archive(source: Source, scratch: Callable[[], str]) -> Source | None:
    """What is in a file that is a tar archive, plain, gzip, bzip2, xz or zstd; None if it is none.

    `scratch` makes a new directory for it.  Owners are those of the archive.  Raises: ImageError.
    """
    if not _is_archive(source):
        return None
    limits = Limits()
    directory_fd = os.open(scratch(), _DIRECTORY)
    try:
        os.mkdir("tree", 0o755, dir_fd=directory_fd)
        tree_fd = os.open("tree", _DIRECTORY, dir_fd=directory_fd)
        try:
            spool = open_spool(directory_fd)
            try:
                with _open(source) as plain:
                    items = index_archive(_Pieces(plain, limits), spool, limits)
                if any(item[2] in (HIDE, HIDE_ALL) for item in items):
                    raise ImageError("archive has names that mean whiteouts in a layer")
                tree = MergedTree(limits)
                tree.add_layer(items)
                create_tree(tree_fd, tree.root, [spool], Ownership(), processors())
            finally:
                os.close(spool)
            return Source(b"", DiskTree(tree_fd, Ownership()).read(), tree_fd)
        except BaseException:
            os.close(tree_fd)
            raise
    except ImageError as error:
        where = f"archive {show(source.name)}" + (f": {error.where}" if error.where else "")
        raise ImageError(error.what, where=where, hint=error.hint) from error
    finally:
        os.close(directory_fd)


def _is_archive(source: Source) -> bool:
    try:
        with _open(source) as plain:
            block = b""
            while len(block) < BLOCK and (piece := plain.read(BLOCK - len(block))):
                block += piece
        if len(block) < BLOCK or not any(block):
            return False
        parse_header(block)
    except (ImageError, OSError, EOFError, lzma.LZMAError):
        return False
    return True


class _open:  # noqa: N801 - reads as a call
    """The plain bytes of a file; a context manager."""

    def __init__(self, source: Source) -> None:
        self._file: IO[bytes] = os.fdopen(open_found(source.fd, source.found.name), "rb")

    def __enter__(self) -> ByteReader:
        first = self._file.read(8)
        self._file.seek(0)
        if first.startswith(b"BZh"):
            return cast("ByteReader", bz2.BZ2File(self._file))
        if first.startswith(b"\xfd7zXZ\x00"):
            return cast("ByteReader", lzma.LZMAFile(self._file))
        return READERS[detect(first)](self._file)

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Pieces:
    def __init__(self, plain: ByteReader, limits: Limits) -> None:
        self._plain = plain
        self._left = limits.layer_bytes

    def read_piece(self) -> bytes:
        try:
            piece = self._plain.read(_PIECE)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise ImageError(f"archive is damaged: {error}") from None
        self._left -= len(piece)
        if self._left < 0:
            raise ImageError("archive is larger than a layer may be")
        return piece
