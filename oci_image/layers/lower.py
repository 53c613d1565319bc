"""What the layers below have, as seen by the layer being applied: the only thing that whiteouts act on.

A layer's entries may come in any order, so a whiteout must not remove what its own layer has made.
Names made by the layer are remembered by the inode number of their directory, which stays right
whatever links lead there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from oci_image.errors import ImageError
from oci_image.layers.rootdir import Directory, RootDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator


class LowerContent:
    """Tells lower content from the current layer's and removes it; one object for each layer."""

    def __init__(self, root: RootDirectory) -> None:
        self._root = root
        self._kept_names: dict[int, set[bytes]] = {}
        self._entered: set[int] = {root.root.inode}  # directories the layer has something in, or lists
        self._last: tuple[int, set[bytes]] = (-1, set())

    def keep(self, parent: Directory, name: bytes) -> None:
        """The layer makes `name` in `parent`, which it has entered."""
        inode, names = self._last
        if inode != parent.inode:
            names = self._kept_names.setdefault(parent.inode, set())
            self._last = (parent.inode, names)
        names.add(name)

    def is_kept(self, parent: Directory, name: bytes) -> bool:
        """Whether `name` in `parent` is the layer's own."""
        return name in self._kept_names.get(parent.inode, ())

    def made_directory(self, inode: int) -> None:
        """The layer made a directory; nothing is known of what had its inode number before."""
        self._entered.add(inode)
        self._kept_names[inode] = set()
        self._last = (-1, set())

    def kept_directory(self, inode: int) -> None:
        """The layer lists a directory that was there."""
        self._entered.add(inode)

    def enter(self, directory: Directory) -> None:
        """The layer makes something in `directory`: it and all directories above it are to stay."""
        if directory.inode in self._entered:
            return
        self._entered.add(directory.inode)
        above = b".."
        while True:
            # The root is in the set from the start, so this never looks above it.
            inode = os.stat(above, dir_fd=directory.fd, follow_symlinks=False).st_ino
            if inode in self._entered:
                return
            self._entered.add(inode)
            above += b"/.."

    def hide(self, parent_parts: list[bytes], name: bytes) -> None:
        """A whiteout of `name`: the lower layers' file or tree of that name goes."""
        with self._lower_directory(parent_parts) as parent:
            if parent is not None:
                self._hide_name(parent, name)

    def hide_all_in(self, parts: list[bytes]) -> None:
        """An opaque whiteout: all lower content of the directory goes."""
        with self._lower_directory(parts) as directory:
            if directory is not None:
                self._hide_content(directory)

    @contextlib.contextmanager
    def _lower_directory(self, parts: list[bytes]) -> Iterator[Directory | None]:
        """The directory of a whiteout; None if the lower layers have none there."""
        directory = self._find_lower_directory(parts)
        if directory is None:
            yield None
            return
        # A descriptor of its own: removing trees below may close the ones that the root keeps.
        fd = os.dup(directory.fd)
        try:
            yield Directory(fd, directory.inode)
        finally:
            os.close(fd)

    def _find_lower_directory(self, parts: list[bytes]) -> Directory | None:
        """Walk to the directory of a whiteout; None if the lower layers have none there.

        A link made by this layer on the way is not followed: the directory that its name stood for is
        gone already, and the one it leads to was not meant.  umoci writes such whiteouts when a
        directory is replaced by a link.
        """
        directory = self._root.root
        for count, name in enumerate(parts, 1):
            try:
                status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode) and self.is_kept(directory, name):
                    return None
                directory = self._root.directory(b"/".join(parts[:count]))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return directory

    def _hide_name(self, parent: Directory, name: bytes) -> None:
        try:
            status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode) and status.st_ino in self._entered:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
            try:
                if os.fstat(fd).st_dev != self._root.device:
                    raise ImageError("refusing to remove what is mounted below the root file system")
                self._hide_content(Directory(fd, status.st_ino))
            finally:
                os.close(fd)
        elif not self.is_kept(parent, name):
            self._root.make_room(parent, name)

    def _hide_content(self, directory: Directory) -> None:
        with os.scandir(directory.fd) as found:
            names = [os.fsencode(entry.name) for entry in found]
        for name in names:
            self._hide_name(directory, name)
