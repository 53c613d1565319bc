"""Seccomp filters: from a request to a BPF program, compiled once and kept.

libseccomp takes 1.5 to 12 ms for a usual profile; reading the program that it made last time takes 0.1 ms.
"""

import os
import sys

from pyruntime.base.errors import HostError
from pyruntime.plan.seccomp import FilterRequest

_FORMAT = b"1"  # raise it when the same request would be compiled differently
_LARGEST = 4096 * 8


def filter_flags(request: FilterRequest) -> int:
    """The SECCOMP_FILTER_FLAG_ bits for seccomp(2)."""
    return request.flags


def compile_filter(request: FilterRequest, cache_directory: str) -> bytes:
    """The program for a request: an array of struct sock_filter.

    Raises:
        HostError: it is not in the cache and libseccomp is missing or refuses the profile.
    """
    name = _digest(repr(request).encode() + _FORMAT + os.uname().machine.encode())
    path = f"{cache_directory}/{name}"
    program = _read(path)
    if program:
        return program
    from pyruntime.execute.libseccomp import compile_program

    program = compile_program(request)
    if len(program) > _LARGEST:
        hint = "the kernel takes 4096 instructions: merge rules, or name fewer architectures"
        raise HostError("the seccomp filter is too long", where="/linux/seccomp", hint=hint)
    _write(cache_directory, path, program)
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


def _read(path: str) -> bytes:
    """What is in the cache, if it is a file that only this user can have written."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
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
    finally:
        os.close(descriptor)


def _write(directory: str, path: str, program: bytes) -> None:
    """Put a program into the cache; without the right to, it is compiled again next time."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError:
        return
    try:
        os.write(descriptor, program)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)
