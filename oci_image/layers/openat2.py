"""openat2(2) and renameat2(2), which Python's os module lacks."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from pyruntime.base.errors import HostError

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SYS_OPENAT2 = 437  # the same on every architecture: syscalls since 424 share one numbering
_RENAME_NOREPLACE = 1

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long


def openat2(directory_fd: int, path: bytes, flags: int, resolve: int) -> int:
    """Open `path` below `directory_fd` under the `resolve` restrictions; the descriptor is close-on-exec.

    Raises: OSError as the kernel answered, HostError on kernels before 5.6.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    while True:
        fd: int = _syscall(_SYS_OPENAT2, directory_fd, path, how, len(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # EAGAIN: something was renamed while the kernel resolved a ".."; it asks to be called again.
        if number in (errno.EAGAIN, errno.EINTR):
            continue
        if number == errno.ENOSYS:
            raise HostError("the kernel has no openat2", hint="Linux 5.6 or newer is needed to unpack safely")
        raise OSError(number, os.strerror(number), os.fsdecode(path))


def rename_without_replacing(directory_fd: int, old: str, new: str) -> None:
    """Rename within a directory; FileExistsError if `new` is taken, even by an empty directory."""
    renameat2 = getattr(_libc, "renameat2", None)
    if renameat2 is None:
        os.rename(old, new, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        return
    result = renameat2(directory_fd, os.fsencode(old), directory_fd, os.fsencode(new), _RENAME_NOREPLACE)
    if result == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EINVAL:  # a file system without RENAME_NOREPLACE
        os.rename(old, new, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        return
    raise OSError(number, os.strerror(number), new)
