"""`linux.seccomp`: the profile, checked and in canonical numbers, as a request for a filter.

Source: config-linux.md, "Seccomp"; seccomp(2).  What libseccomp makes of it is in `execute.seccomp`.
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.spec.linux import Seccomp, SeccompArgument, SeccompSyscall

ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
_TAKES_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # one thread only: nothing to synchronise, runc ignores it too
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
ARCHITECTURES = tuple(
    f"SCMP_ARCH_{name}"
    for name in [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "LOONGARCH64",
        "M68K",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "SH",
        "SHEB",
    ]
)
_EPERM = 1
_ENOSYS = 38
_LARGEST_ERRNO = 4095  # MAX_ERRNO: the kernel cuts what is above
_LARGEST_TRACE = 0xFFFF  # SECCOMP_RET_DATA, for the tracer
_NEVER_ASKED_ABOUT = ("write",)  # by it the executor reports what goes wrong after the filter is loaded


class FilterRule(Record):
    """One rule: `comparisons` are (argument, operator, value, second value), all of which must hold."""

    names: tuple[str, ...]
    action: int
    comparisons: tuple[tuple[int, int, int, int], ...] = ()


class FilterRequest(Record):
    """A filter to be compiled.

    `unknown_errno`: what system calls newer than the profile get, 0 for the default.  `default_names`: system calls
    that the profile names only to say the default again; no rule is made of them, but the profile knows them.
    `strict`: a system call that libseccomp does not know is an error.
    """

    default_action: int
    architectures: tuple[str, ...]
    rules: tuple[FilterRule, ...]
    flags: int
    unknown_errno: int
    default_names: tuple[str, ...] = ()
    strict: bool = False

    @property
    def notifies(self) -> bool:
        """Whether a process outside decides about some of the system calls (seccomp_unotify(2))."""
        return any(rule.action == ACTIONS["SCMP_ACT_NOTIFY"] for rule in self.rules)


def plan_filter(seccomp: Seccomp, *, strict: bool = False) -> FilterRequest:
    """Check a profile and put it into canonical form; with `strict` it may name no unknown system call.

    Raises:
        SpecError: an action, operator, architecture or flag is unknown, or makes no sense where it stands.
    """
    origin = "/linux/seccomp"
    default = _action(seccomp.default_action, seccomp.default_errno_ret, f"{origin}/defaultAction")
    if default == ACTIONS["SCMP_ACT_NOTIFY"]:
        hint = "use it for single system calls"
        raise SpecError(
            "SCMP_ACT_NOTIFY cannot be the default action", where=f"{origin}/defaultAction", hint=hint
        )
    for index, name in enumerate(seccomp.architectures):
        if name not in ARCHITECTURES:
            hint = f"use names such as {ARCHITECTURES[1]}"
            raise SpecError(
                f"unknown architecture {name!r}", where=f"{origin}/architectures/{index}", hint=hint
            )
    rules: list[FilterRule] = []
    default_names: list[str] = []
    for index, entry in enumerate(seccomp.syscalls):
        where = f"{origin}/syscalls/{index}"
        _check_notification(entry, seccomp, where)
        made = _rules(entry, default, where)
        rules += made
        if not made:
            default_names += entry.names
    return FilterRequest(
        default_action=default,
        architectures=tuple(name.removeprefix("SCMP_ARCH_").lower() for name in seccomp.architectures),
        rules=tuple(rules),
        flags=_flags(seccomp),
        unknown_errno=_unknown_errno(default),
        default_names=tuple(dict.fromkeys(default_names)),
        strict=strict,
    )


def _action(name: str, errno: int | None, where: str) -> int:
    number = ACTIONS.get(name)
    if number is None:
        raise SpecError(
            f"unknown seccomp action {name!r}", where=where, hint=f"use one of {', '.join(ACTIONS)}"
        )
    if errno is not None and name not in _TAKES_ERRNO:
        hint = "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take one: remove it"
        raise SpecError(f"{name} does not take an errno", where=where, hint=hint)
    if name in _TAKES_ERRNO:
        largest = _LARGEST_ERRNO if name == "SCMP_ACT_ERRNO" else _LARGEST_TRACE
        if errno is not None and errno > largest:
            where = where.replace("defaultAction", "defaultErrnoRet").replace("/action", "/errnoRet")
            hint = f"the kernel returns 0 to {largest} with {name}"
            raise SpecError(f"errno {errno} is out of range", where=where, hint=hint)
        return number | (_EPERM if errno is None else errno)
    return number


def _check_notification(entry: SeccompSyscall, seccomp: Seccomp, where: str) -> None:
    """What would leave a process waiting for an answer that nobody can give is refused."""
    if entry.action != "SCMP_ACT_NOTIFY":
        return
    if not seccomp.listener_path:
        hint = "add listenerPath: the socket of the process that answers"
        raise SpecError("SCMP_ACT_NOTIFY needs listenerPath", where=f"{where}/action", hint=hint)
    for index, name in enumerate(entry.names):
        if name in _NEVER_ASKED_ABOUT:
            hint = "use another action for it: the runtime needs it before anybody could answer"
            what = f"SCMP_ACT_NOTIFY cannot be used for the {name} syscall"
            raise SpecError(what, where=f"{where}/names/{index}", hint=hint)


def _flags(seccomp: Seccomp) -> int:
    if seccomp.flags is None:
        return FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    bits = 0
    for index, name in enumerate(seccomp.flags):
        if name not in FLAGS:
            where = f"/linux/seccomp/flags/{index}"
            raise SpecError(
                f"unknown seccomp flag {name!r}", where=where, hint=f"use one of {', '.join(FLAGS)}"
            )
        bits |= FLAGS[name]
    return bits


def _unknown_errno(default: int) -> int:
    """ENOSYS for system calls that the profile's author could not know: C libraries fall back on it, not on EPERM."""
    kind = default & 0xFFFF0000
    denies = kind in (ACTIONS["SCMP_ACT_ERRNO"], ACTIONS["SCMP_ACT_KILL_PROCESS"], ACTIONS["SCMP_ACT_KILL"])
    return _ENOSYS if denies and default != ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS else 0


def _rules(entry: SeccompSyscall, default: int, where: str) -> list[FilterRule]:
    if not entry.names:
        raise SpecError(
            "seccomp rule without names", where=f"{where}/names", hint="name at least one system call"
        )
    action = _action(entry.action, entry.errno_ret, f"{where}/action")
    if action == default:
        return []
    comparisons = [
        _comparison(argument, f"{where}/args/{index}") for index, argument in enumerate(entry.args)
    ]
    indexes = [comparison[0] for comparison in comparisons]
    if len(set(indexes)) != len(indexes):
        # libseccomp takes one comparison of an argument in a rule: several are alternatives, as with runc.
        return [FilterRule(names=entry.names, action=action, comparisons=(single,)) for single in comparisons]
    return [FilterRule(names=entry.names, action=action, comparisons=tuple(comparisons))]


def _comparison(argument: SeccompArgument, where: str) -> tuple[int, int, int, int]:
    if not 0 <= argument.index <= 5:
        hint = "a system call has arguments 0 to 5"
        raise SpecError(f"invalid argument index {argument.index}", where=f"{where}/index", hint=hint)
    operator = OPERATORS.get(argument.op)
    if operator is None:
        hint = f"use one of {', '.join(OPERATORS)}"
        raise SpecError(f"unknown seccomp operator {argument.op!r}", where=f"{where}/op", hint=hint)
    return argument.index, operator, argument.value, argument.value_two
