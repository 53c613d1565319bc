"""The binding to libseccomp: only loaded when a filter is not in the cache."""

import ctypes
import os

from pyruntime.base.errors import HostError, errno_text
from pyruntime.execute.session import memory_file
from pyruntime.plan.seccomp import FilterRequest, FilterRule

_CTL_NO_NEW_PRIVILEGES = 4  # the executor sets it itself, or must not
_CTL_OPTIMIZE = 8
_BINARY_TREE = 2
_UNKNOWN_SYSCALL = -1
_AUDIT_ARCHITECTURES = {
    "x86_64": 0xC000003E,
    "x86": 0x40000003,
    "aarch64": 0xC00000B7,
    "arm": 0x40000028,
    "ppc64le": 0xC0000015,
    "s390x": 0x80000016,
    "riscv64": 0xC00000F3,
    "loongarch64": 0xC0000102,
}
_X32_BIT = 0x40000000

# Classic BPF (linux/filter.h): load a word, jumps, return.
_LOAD, _JUMP, _EQUAL, _GREATER, _GREATER_OR_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def compile_program(request: FilterRequest) -> bytes:
    """Compile a request.

    Raises:
        HostError: libseccomp is missing, or refuses a rule.
    """
    library = _load()
    context = library.seccomp_init(ctypes.c_uint32(request.default_action))
    if not context:
        raise HostError("libseccomp refuses the default action", where="/linux/seccomp/defaultAction")
    context = ctypes.c_void_p(context)
    try:
        _check(library.seccomp_attr_set(context, _CTL_NO_NEW_PRIVILEGES, 0), "no_new_privs")
        for name in request.architectures:
            _add_architecture(library, context, name)
        if len(request.rules) > 32:
            # Older versions of the library do not know it; the filter is then only slower.
            library.seccomp_attr_set(context, _CTL_OPTIMIZE, _BINARY_TREE)
        for rule in request.rules:
            _add_rule(library, context, rule, strict=request.strict)
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    return _unknown_prefix(library, request) + program if request.unknown_errno else program


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        hint = "install it (package libseccomp2), or leave linux.seccomp out"
        raise HostError("libseccomp is missing on this host", where="/linux/seccomp", hint=hint) from None
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _check(result: int, what: str) -> None:
    if result < 0:
        raise HostError(f"libseccomp refuses {what}: {errno_text(-result)}", where="/linux/seccomp")


def _add_architecture(library: ctypes.CDLL, context: ctypes.c_void_p, name: str) -> None:
    token = library.seccomp_arch_resolve_name(name.encode())
    if not token:
        return  # this version of the library does not know it, so its programs cannot run here either
    result = library.seccomp_arch_add(context, ctypes.c_uint32(token))
    if result != -17:  # EEXIST: the native one is always there
        _check(result, f"architecture {name}")


def _add_rule(library: ctypes.CDLL, context: ctypes.c_void_p, rule: FilterRule, *, strict: bool) -> None:
    comparisons = (_Comparison * max(1, len(rule.comparisons)))(
        *(_Comparison(*comparison) for comparison in rule.comparisons)
    )
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL and strict:
            hint = "remove it, or the annotation run.oci.seccomp_fail_unknown_syscall"
            raise HostError(f"unknown system call {name!r}", where="/linux/seccomp/syscalls", hint=hint)
        if number == _UNKNOWN_SYSCALL:
            continue  # profiles list system calls of other kernels
        count = ctypes.c_uint(len(rule.comparisons))
        result = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(rule.action), number, count, comparisons
        )
        _check(result, f"the rule for {name}")


def _export(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = memory_file("filter", b"")
    try:
        _check(library.seccomp_export_bpf(context, descriptor), "the filter")
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def _unknown_prefix(library: ctypes.CDLL, request: FilterRequest) -> bytes:
    """Instructions before the filter: what is newer than every system call of the profile gets ENOSYS.

    Numbers of new system calls are the same on all architectures and only grow, so one limit each suffices.
    """
    blocks: list[list[tuple[int, int, int, int]]] = []
    verdict = 0x00050000 | request.unknown_errno
    native = _native_name()
    for name in dict.fromkeys((native, *request.architectures)):
        audit, newest = _AUDIT_ARCHITECTURES.get(name), _newest(library, request, name)
        if audit is None or newest < 0:
            continue
        body = [(_LOAD, 0, 0, _NUMBER_AT)]
        if name == "x86_64":
            # Both share one audit architecture; x32 numbers carry a bit of their own.
            x32 = _newest(library, request, "x32") if "x32" in request.architectures else -1
            limit = x32 if x32 >= _X32_BIT else 0xFFFFFFFF
            body += [
                (_GREATER_OR_EQUAL, 0, 3, _X32_BIT),
                (_GREATER, 0, 1, limit),
                (_RETURN, 0, 0, verdict),
                (_JUMP, 0, 0, 0),
            ]
        body += [(_GREATER, 0, 1, newest), (_RETURN, 0, 0, verdict), (_JUMP, 0, 0, 0)]
        blocks.append([(_EQUAL, 0, len(body), audit), *body])
    instructions = [(_LOAD, 0, 0, _ARCHITECTURE_AT), *(step for block in blocks for step in block)]
    size = len(instructions)
    return b"".join(
        _instruction(code, yes, no, size - place - 1 if code == _JUMP else value)
        for place, (code, yes, no, value) in enumerate(instructions)
    )


def _native_name() -> str:
    machine = os.uname().machine
    return {"i686": "x86", "armv7l": "arm"}.get(machine, machine)


def _newest(library: ctypes.CDLL, request: FilterRequest, architecture: str) -> int:
    token = library.seccomp_arch_resolve_name(architecture.encode())
    if not token:
        return -1
    names = [*request.default_names, *(name for rule in request.rules for name in rule.names)]
    return max(
        (
            library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode())
            for name in dict.fromkeys(names)
        ),
        default=-1,
    )


def _instruction(code: int, yes: int, no: int, value: int) -> bytes:
    return code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
