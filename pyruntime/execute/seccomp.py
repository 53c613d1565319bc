"""Seccomp filters: from a request to a BPF program, compiled once and kept.

libseccomp takes 1.5 to 12 ms for a usual profile; reading the program that it made last time takes 0.1 ms.
"""

import os
import sys

from pyruntime.base.errors import HostError
from pyruntime.host.libseccomp import libseccomp_version
from pyruntime.plan.seccomp import FilterRequest

_FORMAT = b"2"  # raise it when the same request would be compiled differently
_LARGEST = 4096 * 8
_WAIT_KILLABLE_RECV = 1 << 5


def filter_flags(request: FilterRequest) -> int:
    """The SECCOMP_FILTER_FLAG_ bits for seccomp(2).

    The kernel refuses WAIT_KILLABLE_RECV, which is about notifications, for a filter that makes none.
    """
    return request.flags if request.notifies else request.flags & ~_WAIT_KILLABLE_RECV


def compile_filter(request: FilterRequest, cache_directory: str) -> bytes:
    """The program for a request: an array of struct sock_filter.

    Raises:
        HostError: it is not in the cache and libseccomp is missing or refuses the profile.
    """
    made_by = f"{os.uname().machine} {libseccomp_version()}"
    name = _digest(repr(request).encode() + _FORMAT + made_by.encode())
    directory = _open_cache(cache_directory)
    try:
        program = _read(directory, name)
        if not program:
            program = _compile(request)
            _write(directory, name, program)
    finally:
        if directory >= 0:
            os.close(directory)
    return program


def _compile(request: FilterRequest) -> bytes:
    from pyruntime.execute.libseccomp import compile_program

    program = compile_program(request)
    if len(program) > _LARGEST:
        hint = "the kernel takes 4096 instructions: merge rules, or name fewer architectures"
        raise HostError("the seccomp filter is too long", where="/linux/seccomp", hint=hint)
    return program


def _digest(data: bytes) -> str:
    # hashlib would load OpenSSL, which takes longer than everything else here.
    launcher = sys.modules.get("pyruntime_launcher")
    if launcher is not None:
        digest: bytes = launcher.sha256(data)
        return digest.hex()
    try:
        sha256 = __import__("_sha2").sha256
    except ImportError:
        sha256 = __import__("_sha256").sha256  # Python 3.11
    return str(sha256(data).hexdigest())


def cache_fault(path: str) -> str:
    """Why compiled filters are not kept in this directory, or "": each container then pays for compiling them."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""  # it is made when the first filter is kept
    if found.st_mode & 0o170000 != 0o040000:
        return "it is not a directory"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}"
    return "others may write to it" if found.st_mode & 0o022 else ""


def _open_cache(path: str) -> int:
    """The cache directory, made if need be; -1 if others could put filters of theirs into it."""
    try:
        try:
            os.makedirs(path, 0o700)
        except FileExistsError:
            pass
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1
    found = os.fstat(directory)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        os.close(directory)
        return -1
    return directory


def _read(directory: int, name: str) -> bytes:
    """What is in the cache, if it is a file that only this user can have written."""
    if directory < 0:
        return b""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return b""
    try:
        found = os.fstat(descriptor)
        if (
            found.st_uid != os.geteuid()
            or found.st_mode & 0o177
            or found.st_size % 8
            or found.st_size > _LARGEST
        ):
            return b""
        return os.read(descriptor, _LARGEST)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _write(directory: int, name: str, program: bytes) -> None:
    """Put a program into the cache.  A full or read-only disk is no reason to fail: it is compiled again next time."""
    if directory < 0:
        return
    temporary = f"{name}.{os.getpid()}"
    try:
        descriptor = os.open(
            temporary,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
            dir_fd=directory,
        )
    except OSError:
        return
    try:
        try:
            whole = os.write(descriptor, program) == len(program)
        finally:
            os.close(descriptor)
        if whole:
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            return
    except OSError:
        pass
    os.unlink(temporary, dir_fd=directory)
