"""config-linux.md: seccomp, asked by system calls that the probe makes."""

import os
from functools import partial

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("seccomp")
ANCHOR = "config-linux.md#seccomp"
SYSINFO = {"x86_64": 99, "aarch64": 179}
GETPRIORITY = {"x86_64": 140, "aarch64": 141}  # takes two arguments, and refuses most of them with EINVAL
ALLOW, EINVAL, EFAULT = "SCMP_ACT_ALLOW", {"errno": 22}, {"errno": 14}
REFUSED = {"errno": 42}
SIGSYS = 31
# Calls that runtimes and the probe make once a filter is loaded.
_CALLS = """
read write open openat openat2 close close_range stat fstat newfstatat lstat readlink readlinkat getcwd chdir
fchdir execve execveat exit exit_group brk mmap munmap mprotect mremap rt_sigaction rt_sigprocmask
rt_sigreturn ioctl fcntl poll ppoll epoll_wait epoll_pwait epoll_ctl epoll_create1 nanosleep clock_nanosleep
clock_gettime getpid getppid gettid getuid geteuid getgid getegid setuid setgid setgroups getgroups setresuid
setresgid capget capset prctl arch_prctl set_tid_address set_robust_list rseq prlimit64 futex sched_getattr
sched_getaffinity sched_yield ioprio_get get_mempolicy personality umask getsid uname tgkill tkill sigaltstack
madvise getrandom pread64 pwrite64 lseek writev readv dup dup2 dup3 pipe pipe2 sendmsg recvmsg sendto recvfrom
socket connect statx statfs fstatfs access faccessat faccessat2 getdents64 wait4 clone clone3 setsid unlink
unlinkat membarrier seccomp select pselect6 keyctl getpgid getpgrp fchown mount umount2 pivot_root
"""


def number(table: dict[str, int]) -> int:
    machine = os.uname().machine
    need(machine in table, f"the kernel does not number calls as this suite knows on {machine}")
    return table[machine]


def filter_of(action: str, **more: object) -> JsonObject:
    return {"defaultAction": ALLOW, "syscalls": [{"names": ["sysinfo"], "action": action, **more}]}


def after(bench: Bench, seccomp: JsonObject, table: dict[str, int] = SYSINFO, arguments: str = "") -> object:
    """What a system call answers under the filter; sysinfo without arguments fails with EFAULT if it is let through."""
    question = f"call:{number(table)}{arguments}"
    return bench.look({"/linux/seccomp": seccomp}, question)[question]


def status_after(bench: Bench, seccomp: JsonObject) -> int:
    container = bench.container({"/linux/seccomp": seccomp}, f"call:{number(SYSINFO)}", "exit:0")
    return container.command("run", "--bundle", container.bundle, container.identifier).returncode


@SUBJECT.must("errno", ANCHOR, "SCMP_ACT_ERRNO answers with errnoRet.")
def errno(bench: Bench) -> None:
    expect_equal(after(bench, filter_of("SCMP_ACT_ERRNO", errnoRet=42)), REFUSED, "sysinfo")


@SUBJECT.must("errno-default", ANCHOR, "Without errnoRet the error is EPERM.")
def errno_default(bench: Bench) -> None:
    expect_equal(after(bench, filter_of("SCMP_ACT_ERRNO")), {"errno": 1}, "sysinfo")


@SUBJECT.must("allow", ANCHOR, "SCMP_ACT_ALLOW in a list of what is allowed lets the call through.")
def allow(bench: Bench) -> None:
    names = _CALLS.split()
    rule = {"names": names, "action": ALLOW}
    seccomp: JsonObject = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 42, "syscalls": [rule]}
    expect_equal(after(bench, seccomp), REFUSED, "sysinfo, which is not on the list")
    rule["names"] = [*names, "sysinfo"]
    expect_equal(after(bench, seccomp), EFAULT, "sysinfo, which is on the list")


@SUBJECT.must("log", ANCHOR, "SCMP_ACT_LOG lets the call through.")
def log(bench: Bench) -> None:
    expect_equal(after(bench, filter_of("SCMP_ACT_LOG")), EFAULT, "sysinfo")


@SUBJECT.must("trace", ANCHOR, "SCMP_ACT_TRACE without a tracer answers with ENOSYS.")
def trace(bench: Bench) -> None:
    expect_equal(after(bench, filter_of("SCMP_ACT_TRACE", errnoRet=1)), {"errno": 38}, "sysinfo")


def ends_by_signal(action: str, bench: Bench) -> None:
    expect_equal(status_after(bench, filter_of(action)), 128 + SIGSYS, f"exit status (SIGSYS is {SIGSYS})")


for _action in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"):
    SUBJECT.must(
        _action.lower().replace("_", "-"), ANCHOR, f"SCMP_ACT_{_action} ends the process by SIGSYS."
    )(partial(ends_by_signal, f"SCMP_ACT_{_action}"))


# Comparisons: operator, value, second value, first arguments that match, and first arguments that do not.
COMPARISONS = {
    "SCMP_CMP_NE": (7, None, (6, 8), (7,)),
    "SCMP_CMP_LT": (7, None, (6,), (7, 8)),
    "SCMP_CMP_LE": (7, None, (6, 7), (8,)),
    "SCMP_CMP_EQ": (7, None, (7,), (6, 8)),
    "SCMP_CMP_GE": (7, None, (7, 8), (6,)),
    "SCMP_CMP_GT": (7, None, (8,), (7, 6)),
    "SCMP_CMP_MASKED_EQ": (6, 4, (4, 5), (6, 2)),
}


def compares(operator: str, bench: Bench) -> None:
    value, second, hits, misses = COMPARISONS[operator]
    argument = {"index": 0, "value": value, "op": operator}
    if second is not None:
        argument["valueTwo"] = second
    rule = {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": [argument]}
    call = number(GETPRIORITY)
    questions = {first: f"call:{call}:{first}" for first in (*hits, *misses)}
    seen = bench.look({"/linux/seccomp": {"defaultAction": ALLOW, "syscalls": [rule]}}, *questions.values())
    for first in hits:
        expect_equal(
            seen[questions[first]], REFUSED, f"the call with {first}, which {operator} {value} matches"
        )
    for first in misses:
        expect(seen[questions[first]] != REFUSED, f"the call with {first} was refused by {operator} {value}")


for _operator in COMPARISONS:
    SUBJECT.must(
        _operator.removeprefix("SCMP_").lower().replace("_", "-"),
        ANCHOR,
        f"{_operator} compares an argument.",
    )(partial(compares, _operator))


@SUBJECT.must("all-arguments", ANCHOR, "A rule with two arguments matches only where both do.")
def all_arguments(bench: Bench) -> None:
    arguments = [{"index": index, "value": 7, "op": "SCMP_CMP_EQ"} for index in (0, 1)]
    rule = {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": arguments}
    seccomp = {"defaultAction": ALLOW, "syscalls": [rule]}
    expect_equal(after(bench, seccomp, GETPRIORITY, ":7:7"), REFUSED, "the call with 7 and 7")
    expect_equal(after(bench, seccomp, GETPRIORITY, ":7:6"), EINVAL, "the call with 7 and 6")


@SUBJECT.must("wide-values", ANCHOR, "A value of 64 bits is compared as a whole.")
def wide_values(bench: Bench) -> None:
    arguments = [{"index": 0, "value": (5 << 32) + 7, "op": "SCMP_CMP_EQ"}]
    rule = {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42, "args": arguments}
    seccomp = {"defaultAction": ALLOW, "syscalls": [rule]}
    expect_equal(after(bench, seccomp, GETPRIORITY, f":{(5 << 32) + 7}"), REFUSED, "the whole value")
    expect_equal(after(bench, seccomp, GETPRIORITY, ":7"), EINVAL, "its lower half")


def architecture_known(name: str, bench: Bench) -> None:
    seccomp = {**filter_of("SCMP_ACT_ERRNO", errnoRet=42), "architectures": [name]}
    expect_equal(after(bench, seccomp), REFUSED, "sysinfo of the machine's own architecture")


ARCHITECTURES = (
    "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC "
    "PARISC64 RISCV64"
)


@SUBJECT.must("architectures", ANCHOR, "The architectures of the specification's list are known.")
def architectures(bench: Bench) -> None:
    native = {"x86_64": "X86_64", "aarch64": "AARCH64"}.get(os.uname().machine, "")
    for name in ARCHITECTURES.split():
        if {name, native} & {
            "S390",
            "S390X",
            "PPC",
            "PPC64",
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "PARISC",
            "PARISC64",
        }:
            continue  # of the other byte order: libseccomp keeps no two orders in one filter
        architecture_known(f"SCMP_ARCH_{name}", bench)


FLAGS = ("LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV")


def flag_known(flag: str, bench: Bench) -> None:
    """A flag that the kernel lacks may be refused; one that is passed over leaves the filter in force."""
    seccomp = {**filter_of("SCMP_ACT_ERRNO", errnoRet=42), "flags": [flag]}
    container = bench.container({"/linux/seccomp": seccomp}, f"call:{number(SYSINFO)}")
    expect_equal(container.report()[f"call:{number(SYSINFO)}"], REFUSED, "sysinfo")


for _flag in FLAGS[:3]:
    SUBJECT.must(
        f"flag-{_flag.lower().replace('_', '-')}", ANCHOR, f"The flag SECCOMP_FILTER_FLAG_{_flag} is known."
    )(partial(flag_known, f"SECCOMP_FILTER_FLAG_{_flag}"))


@SUBJECT.must("exec", ANCHOR, "A process of `exec` is under the filter, too.")
def exec_filtered(bench: Bench) -> None:
    container = bench.running({"/linux/seccomp": filter_of("SCMP_ACT_ERRNO", errnoRet=42)})
    question = f"call:{number(SYSINFO)}"
    expect_equal(container.exec(question)[question], REFUSED, "sysinfo")


@SUBJECT.must("with-no-new-privileges", ANCHOR, "A filter is loaded for a user without capabilities.")
def with_no_new_privileges(bench: Bench) -> None:
    question = f"call:{number(SYSINFO)}"
    changes = {
        "/linux/seccomp": filter_of("SCMP_ACT_ERRNO", errnoRet=42),
        "/process/user": {"uid": 5, "gid": 6},
        "/process/noNewPrivileges": True,
    }
    expect_equal(bench.look(changes, question)[question], REFUSED, "sysinfo")


# What must be refused.


def refused(seccomp: JsonObject, bench: Bench) -> None:
    said = bench.refused({"/linux/seccomp": seccomp})
    expect(bool(said.strip()), "the refusal has no message")


WRONG: dict[str, tuple[str, JsonObject]] = {
    "unknown-action": ("An action that is not in the list is an error.", filter_of("SCMP_ACT_CONFORMANCE")),
    "unknown-default": (
        "A default action that is not in the list is an error.",
        {"defaultAction": "SCMP_ACT_X"},
    ),
    "unknown-architecture": (
        "An architecture that is not in the list is an error.",
        {"defaultAction": ALLOW, "architectures": ["SCMP_ARCH_CONFORMANCE"]},
    ),
    "unknown-flag": (
        "A flag that is not in the list is an error.",
        {**filter_of("SCMP_ACT_ERRNO"), "flags": ["SECCOMP_FILTER_FLAG_CONFORMANCE"]},
    ),
    "unknown-operator": (
        "An operator that is not in the list is an error.",
        filter_of("SCMP_ACT_ERRNO", args=[{"index": 0, "value": 0, "op": "SCMP_CMP_CONFORMANCE"}]),
    ),
    "errno-not-supported": (
        "errnoRet for an action that has none is an error.",
        filter_of("SCMP_ACT_KILL", errnoRet=1),
    ),
    "default-errno-not-supported": (
        "defaultErrnoRet for an action that has none is an error.",
        {**filter_of("SCMP_ACT_ERRNO"), "defaultErrnoRet": 1},
    ),
    "no-names": (
        "A rule without names is an error.",
        {"defaultAction": ALLOW, "syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]},
    ),
    "bad-index": (
        "An argument with an index above 5 is an error.",
        filter_of("SCMP_ACT_ERRNO", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]),
    ),
    "notify-needs-listener": (
        "SCMP_ACT_NOTIFY without listenerPath is an error.",
        filter_of("SCMP_ACT_NOTIFY"),
    ),
    "metadata-needs-listener": (
        "listenerMetadata without listenerPath is an error.",
        {**filter_of("SCMP_ACT_ERRNO"), "listenerMetadata": "x"},
    ),
}
for _name, (_sentence, _wrong) in WRONG.items():
    SUBJECT.must(_name, ANCHOR, _sentence)(partial(refused, _wrong))


@SUBJECT.callers("unknown-call", "A system call that libseccomp does not know is passed over.")
def unknown_call(bench: Bench) -> None:
    rule = {"names": ["conformance_call", "sysinfo"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}
    expect_equal(
        after(bench, {"defaultAction": ALLOW, "syscalls": [rule]}), REFUSED, "the known one of two calls"
    )
