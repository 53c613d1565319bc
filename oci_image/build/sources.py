"""What COPY and ADD take files from: the build context, or the root of a stage or image.

Every path is resolved inside the tree by openat2, links included, so that nothing outside of it is ever
read (CVE-2024-1753, CVE-2024-9675 and their kin in other builders).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from oci_image.build.patterns import IgnoreRules, compile_pattern, is_pattern
from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.metadata import Ownership
from oci_image.layers.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from oci_image.layers.rootdir import show
from oci_image.pack.changes import walk
from oci_image.pack.disk import DiskTree, Found, open_found
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from types import TracebackType

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_PIECE = 1 << 20


@dataclass(slots=True)
class Source:
    """One file or tree to be copied; names in `found` are relative to the directory `fd`.

    `name` is the last component of the path as it was written, b"" for the whole tree; `fetched` says that
    it came from another host.
    """

    name: bytes
    found: Found
    fd: int
    fetched: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether its content is meant, not itself."""
        return self.found.kind == tar_reader.DIRECTORY

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


class SourceTree:
    """A tree to copy from; a context manager.  Without `keep_owner` everything is root's."""

    def __init__(self, path: str, rules: IgnoreRules | None = None, *, keep_owner: bool = False) -> None:
        """Open the directory `path`; ImageError."""
        self.path = path
        self._rules = rules or IgnoreRules()
        self._keep_owner = keep_owner
        try:
            self.fd = os.open(path, _DIRECTORY)
        except OSError as error:
            raise ImageError(
                f"cannot open the directory: {errno_text(error.errno or 0)}", where=path
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def find(
        self, pattern: str, *, exclude: IgnoreRules | None = None, parents: bool = False
    ) -> list[Source]:
        """What a path or pattern means, in order of the names; the caller closes them.

        `exclude` leaves files out by their path from the directory that is meant, or by their name.  With
        `parents` the name of a source is its path, from `/./` on if that is in the pattern.
        Raises: ImageError if it means nothing.
        """
        paths = self._matches(pattern)
        pivot = posixpath.normpath("/" + pattern.partition("/./")[0]) if "/./" in pattern else "/"
        found: list[Source] = []
        try:
            for path in paths:
                if exclude is not None and exclude.leaves_out(posixpath.basename(path)):
                    continue
                found.append(self._read(path, exclude or IgnoreRules()))
                if parents:
                    found[-1].name = os.fsencode(posixpath.relpath("/" + path, pivot))
        except BaseException:
            for source in found:
                source.close()
            raise
        return found

    def _matches(self, pattern: str) -> list[str]:
        """Paths from the tree's root, "" for the root itself."""
        parts = [part for part in posixpath.normpath("/" + pattern).split("/") if part]
        paths = [""]
        for part in parts:
            if is_pattern(part):
                compiled = compile_pattern(part)
                paths = [
                    posixpath.join(path, name)
                    for path in paths
                    for name in self._names(path)
                    if compiled.fullmatch(name)
                ]
            else:
                paths = [posixpath.join(path, part) for path in paths]
        there = [path for path in paths if not path or (self._is_there(path) and not self._is_out(path))]
        if not there:
            left_out = any(self._is_out(path) for path in paths)
            hint = ".dockerignore leaves it out" if left_out else f"it is looked for in {self.path}"
            raise ImageError(f"no source file matches {pattern!r}", hint=hint)
        return there

    def _names(self, path: str) -> list[str]:
        try:
            fd = openat2(self.fd, os.fsencode(path or "."), _DIRECTORY, _IN_ROOT)
        except OSError:
            return []
        try:
            return sorted(os.listdir(fd), key=os.fsencode)
        finally:
            os.close(fd)

    def _is_there(self, path: str, flags: int = 0) -> bool:
        try:
            os.close(openat2(self.fd, os.fsencode(path), os.O_PATH | flags, _IN_ROOT))
        except OSError:
            return False
        return True

    def _is_out(self, path: str) -> bool:
        if not path or not self._rules.leaves_out(path):
            return False
        # A directory that is left out may have something in it that comes back.
        return not (self._rules.brings_back and self._is_there(path, os.O_DIRECTORY))

    def _read(self, path: str, exclude: IgnoreRules) -> Source:
        name = os.fsencode(posixpath.basename(path))
        real = self._real_path(path)
        try:
            fd = openat2(self.fd, os.fsencode(real or "."), os.O_PATH | os.O_NOFOLLOW, _IN_ROOT)
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            os.close(fd)
            if is_directory:
                fd = openat2(self.fd, os.fsencode(real or "."), _DIRECTORY, _IN_ROOT)
                return self._closing(fd, lambda: Source(name, self._tree(fd, real, exclude).read(), fd))
            parent, last = posixpath.split(real)
            fd = openat2(self.fd, os.fsencode(parent or "."), _DIRECTORY, _IN_ROOT)
            return self._closing(
                fd, lambda: Source(name, self._tree(fd, parent, exclude).read_one(os.fsencode(last)), fd)
            )
        except OSError as error:
            what = f"cannot read: {errno_text(error.errno or 0)}"
            raise ImageError(what, where=f"path {show(os.fsencode(path))}") from error

    def _closing(self, fd: int, read: object) -> Source:
        try:
            source = read()  # type: ignore[operator]
            assert isinstance(source, Source)
        except BaseException:
            os.close(fd)
            raise
        if not self._keep_owner:
            for found in walk(source.found):
                found.uid = found.gid = 0
        return source

    def _real_path(self, path: str) -> str:
        """The path from the tree's root without links in it."""
        fd = openat2(self.fd, os.fsencode(path or "."), os.O_PATH, _IN_ROOT)
        try:
            real = os.readlink(f"/proc/self/fd/{fd}")
            root = os.readlink(f"/proc/self/fd/{self.fd}")
        finally:
            os.close(fd)
        return posixpath.relpath(real, root) if real != root else ""

    def _tree(self, fd: int, base: str, exclude: IgnoreRules) -> DiskTree:
        def leaves_out(name: bytes, is_directory: bool) -> bool:  # noqa: FBT001
            text = os.fsdecode(name)
            return any(
                rules.leaves_out(path) and not (is_directory and rules.brings_back)
                for rules, path in ((self._rules, posixpath.join(base, text)), (exclude, text))
            )

        wanted = self._rules.rules or exclude.rules
        return DiskTree(fd, Ownership(), leaves_out=leaves_out if wanted else None)


def checksum(sources: list[Source]) -> str:
    """A digest of names, types, modes, owners, attributes and content; times do not count."""
    whole = hashlib.sha256()
    for source in sources:
        for found in walk(source.found):
            linked = found.inode if found.kind == tar_reader.REGULAR else 0
            whole.update(
                repr(
                    (source.name, found.name, found.kind, found.mode, found.uid, found.gid, found.link_name,
                     found.device_major, found.device_minor, sorted(found.xattrs.items()), bool(linked))
                ).encode()
            )  # fmt: skip
            if found.kind == tar_reader.REGULAR:
                whole.update(_content(source, found))
    return whole.hexdigest()


def _content(source: Source, found: Found) -> bytes:
    try:
        fd = open_found(source.fd, found.name)
        try:
            hashed = hashlib.sha256()
            while piece := os.read(fd, _PIECE):
                hashed.update(piece)
        finally:
            os.close(fd)
    except OSError as error:
        what = f"cannot read: {errno_text(error.errno or 0)}"
        raise ImageError(what, where=f"path {show(found.name)}") from error
    return hashed.digest()
