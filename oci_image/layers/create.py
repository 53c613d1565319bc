"""Making the final tree, by several processes: nothing is made twice, and nothing is followed.

Directories come first, then each process fills its share of them from the plain layers, then come the
second names of hard links and the attributes of directories, the deepest first, because making entries
changes times and a directory without write permission could not be filled by its owner.
"""

from __future__ import annotations

import errno
import functools
import os
import stat

from oci_image.errors import ImageError
from oci_image.layers import tar_reader
from oci_image.layers.metadata import MetadataWriter, Ownership
from oci_image.layers.rootdir import Directory, RootDirectory, show
from oci_image.layers.workers import run_all
from pyruntime.base.errors import errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from oci_image.layers.merged import Node

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WINDOW = 512 << 10  # bytes of a plain layer read at once; small files lie side by side in it
_PIECE = 1 << 20
_NO_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)
_COST_OF_FILE = 30 << 10  # making a file takes as long as copying so many bytes
_SMALL = 500  # entries; below that a second process costs more than it saves

Names = list[tuple[bytes, "Node"]]


def create_tree(
    root_fd: int, root: Node, spool_fds: Sequence[int], ownership: Ownership, workers: int
) -> dict[str, str]:
    """Make the content of `root` in the empty directory `root_fd`; notices on what could not be kept.

    `spool_fds` are the plain layers by number.  Meanwhile the process's umask is 0.  ImageError names the
    entry at which the file system refused.
    """
    old_umask = os.umask(0)
    try:
        return _create(root_fd, root, spool_fds, ownership, workers)
    finally:
        os.umask(old_umask)


def _create(
    root_fd: int, root: Node, spool_fds: Sequence[int], ownership: Ownership, workers: int
) -> dict[str, str]:
    directories, links = _list(root)
    door = RootDirectory(root_fd)
    notices: dict[str, str] = {}
    metadata = MetadataWriter(ownership)
    try:
        for path, _, _ in directories[1:]:
            parent, _, name = path.rpartition(b"/")
            with _Naming(path):
                os.mkdir(name, 0o700, dir_fd=door.directory(parent).fd)
        door.close()
        count = sum(len(files) for _, _, files in directories)
        shares = _share(directories, workers if count > _SMALL else 1)
        jobs = [functools.partial(_fill, root_fd, share, spool_fds, ownership) for share in shares]
        for found in run_all(jobs, len(jobs)):
            notices.update(found)
        for source, path, name in links:
            _link(door, source, path, name)
        for path, node, _ in reversed(directories):
            with _Naming(path, "set attributes"):
                metadata.by_descriptor(door.directory(path).fd, node, created_mode=-1)
    finally:
        door.close()
    return {**metadata.notices, **notices}


def _list(
    root: Node,
) -> tuple[list[tuple[bytes, Node, Names]], list[tuple[bytes, bytes, bytes]]]:
    """Directories with path, node and what else is in them, parents first; (target, directory, name)."""
    directories: list[tuple[bytes, Node, Names]] = []
    links: list[tuple[bytes, bytes, bytes]] = []
    first_names: dict[int, bytes] = {}
    todo = [(b"", root)]
    for path, node in todo:
        files: Names = []
        directories.append((path, node, files))
        assert node.children is not None
        for name, child in node.children.items():
            full = path + b"/" + name if path else name
            if child.children is not None:
                todo.append((full, child))
            elif child.linked and (first := first_names.setdefault(id(child), full)) != full:
                links.append((first, path, name))
            else:
                files.append((name, child))
    return directories, links


def _share(directories: list[tuple[bytes, Node, Names]], workers: int) -> list[list[tuple[bytes, Names]]]:
    """Directories dealt out so that everybody has as much to do; each share in the order of its data."""
    costs = [
        (sum(child.size + _COST_OF_FILE for _, child in files), path, files)
        for path, _, files in directories
        if files
    ]
    costs.sort(key=lambda item: -item[0])
    shares: list[list[tuple[bytes, Names]]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for cost, path, files in costs:
        least = loads.index(min(loads))
        loads[least] += cost
        shares[least].append((path, files))
    for share in shares:
        share.sort(key=lambda item: min((node.layer, node.offset) for _, node in item[1]))
    return [share for share in shares if share]


def _fill(
    root_fd: int, share: list[tuple[bytes, Names]], spool_fds: Sequence[int], ownership: Ownership
) -> dict[str, str]:
    """Make everything but directories in a share of the directories; the notices."""
    metadata = MetadataWriter(ownership)
    door = RootDirectory(root_fd)
    spools = [Spool(fd) for fd in spool_fds]
    try:
        for path, files in share:
            files.sort(key=lambda item: item[1].offset)
            with _Naming(path, "open directory"):
                directory = door.directory(path)
            for name, node in files:
                try:
                    if node.kind == tar_reader.REGULAR:
                        _file(directory, name, node, spools[node.layer], metadata)
                    else:
                        _other(directory, name, node, metadata)
                except OSError as error:
                    _refuse(error, path + b"/" + name if path else name)
    finally:
        door.close()
    return metadata.notices


class Spool:
    """A plain layer, of which a process reads ascending parts."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._window = memoryview(b"")
        self._in_kernel = True  # until the kernel refuses to copy between these files

    def copy(self, target_fd: int, offset: int, size: int) -> None:
        """Append `size` bytes from `offset` on to `target_fd`; raises OSError."""
        if size > _WINDOW // 2:
            self._copy_long(target_fd, offset, size)
            return
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._window):
            self._window = memoryview(os.pread(self._fd, _WINDOW, offset))
            self._start = offset
            begin = 0
        view = self._window[begin : begin + size]
        if len(view) < size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        _write_all(target_fd, view)

    def _copy_long(self, target_fd: int, offset: int, size: int) -> None:
        while size and self._in_kernel:
            try:
                copied = os.copy_file_range(self._fd, target_fd, size, offset)
            except OSError as error:
                if error.errno not in _NO_COPY:
                    raise
                copied = 0
            if not copied:
                self._in_kernel = False
            offset += copied
            size -= copied
        while size:
            piece = os.pread(self._fd, min(size, _PIECE), offset)
            if not piece:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            _write_all(target_fd, memoryview(piece))
            offset += len(piece)
            size -= len(piece)


def _file(directory: Directory, name: bytes, node: Node, spool: Spool, metadata: MetadataWriter) -> None:
    mode = node.mode & 0o777
    if metadata.rootless:
        mode |= 0o600  # until the attributes are set
    fd = os.open(name, _NEW_FILE, mode, dir_fd=directory.fd)
    try:
        if node.segments is not None:
            os.ftruncate(fd, node.file_size)
            offset = node.offset
            for position, length in node.segments:
                os.lseek(fd, position, os.SEEK_SET)
                spool.copy(fd, offset, length)
                offset += length
        elif node.size:
            spool.copy(fd, node.offset, node.size)
        metadata.by_descriptor(fd, node, created_mode=mode)
    finally:
        os.close(fd)


def _other(directory: Directory, name: bytes, node: Node, metadata: MetadataWriter) -> None:
    """A symbolic link, FIFO or device."""
    kind = node.kind
    if kind == tar_reader.SYMBOLIC_LINK:
        os.symlink(node.link_name, name, dir_fd=directory.fd)
    elif kind == tar_reader.FIFO:
        os.mkfifo(name, node.mode & 0o777, dir_fd=directory.fd)
    elif metadata.rootless:
        metadata.notices.setdefault(
            "device", f"devices are unpacked as empty files without root, the first is {show(name)}"
        )
        node.mode = 0
        os.close(os.open(name, _NEW_FILE, 0, dir_fd=directory.fd))
    else:
        form = stat.S_IFCHR if kind == tar_reader.CHARACTER_DEVICE else stat.S_IFBLK
        device = os.makedev(node.device_major, node.device_minor)
        try:
            os.mknod(name, form | node.mode & 0o777, device, dir_fd=directory.fd)
        except PermissionError:
            hint = "with --rootless an empty file is made instead"
            raise ImageError(
                "cannot make a device node on this host", where=f"entry {show(name)}", hint=hint
            ) from None
    metadata.by_name(directory.fd, name, node, is_link=kind == tar_reader.SYMBOLIC_LINK)


def _link(door: RootDirectory, target: bytes, path: bytes, name: bytes) -> None:
    directory, _, target_name = target.rpartition(b"/")
    with _Naming(path + b"/" + name):
        source = os.dup(door.directory(directory).fd)  # the next look-up may close it
        try:
            os.link(
                target_name, name, src_dir_fd=source, dst_dir_fd=door.directory(path).fd,
                follow_symlinks=False,
            )  # fmt: skip
        finally:
            os.close(source)


class _Naming:
    """Turns the kernel's refusals into errors that name the entry."""

    def __init__(self, path: bytes, doing: str = "unpack") -> None:
        self._path = path
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            _refuse(error, self._path, self._doing)


def _refuse(error: OSError, path: bytes, doing: str = "unpack") -> None:
    detail = f": {error.filename}" if str(error.filename).startswith("extended") else ""
    hint = "free space, or unpack elsewhere" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    what = f"cannot {doing}{detail}: {errno_text(error.errno or 0)}"
    raise ImageError(what, where=f"entry {show(path)}", hint=hint) from error


def _write_all(fd: int, view: memoryview) -> None:
    written = os.write(fd, view)
    while written < len(view):
        written += os.write(fd, view[written:])
