"""config-linux.md: seccomp, asked by system calls that the probe makes."""

import os

from conformance.bench import Bench
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("seccomp")
ANCHOR = "config-linux.md#seccomp"
SYSINFO = {"x86_64": 99, "aarch64": 179}


def number() -> int:
    """Number of a system call that no program needs: sysinfo, which fails with EFAULT when it is let through."""
    machine = os.uname().machine
    need(machine in SYSINFO, f"the number of sysinfo on {machine} is not known here")
    return SYSINFO[machine]


def filter_of(action: str, **more: int) -> dict[str, object]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sysinfo"], "action": action, **more}]}


@SUBJECT.must("errno", ANCHOR, "SCMP_ACT_ERRNO answers with errnoRet.")
def errno(bench: Bench) -> None:
    question = f"call:{number()}"
    seen = bench.look({"/linux/seccomp": filter_of("SCMP_ACT_ERRNO", errnoRet=42)}, question)
    expect_equal(seen[question], {"errno": 42}, "sysinfo")


@SUBJECT.must("errno-default", ANCHOR, "Without errnoRet the error is EPERM.")
def errno_default(bench: Bench) -> None:
    question = f"call:{number()}"
    seen = bench.look({"/linux/seccomp": filter_of("SCMP_ACT_ERRNO")}, question)
    expect_equal(seen[question], {"errno": 1}, "sysinfo")


@SUBJECT.must("kill", ANCHOR, "SCMP_ACT_KILL_PROCESS ends the process.")
def kill(bench: Bench) -> None:
    container = bench.container({"/linux/seccomp": filter_of("SCMP_ACT_KILL_PROCESS")}, f"call:{number()}")
    result = bench.command("run", "--bundle", container.bundle, container.identifier)
    expect_equal(result.returncode, 128 + 31, "exit status (SIGSYS is 31)")


@SUBJECT.must("unknown-action", ANCHOR, "An action that is not in the list is an error.")
def unknown_action(bench: Bench) -> None:
    bench.refused({"/linux/seccomp": filter_of("SCMP_ACT_CONFORMANCE")})


@SUBJECT.callers("unknown-call", "A system call that libseccomp does not know is passed over.")
def unknown_call(bench: Bench) -> None:
    rule = {"names": ["conformance_call"], "action": "SCMP_ACT_ERRNO"}
    bench.look({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}})


@SUBJECT.must("notify-needs-listener", ANCHOR, "SCMP_ACT_NOTIFY without listenerPath is an error.")
def notify_needs_listener(bench: Bench) -> None:
    said = bench.refused({"/linux/seccomp": filter_of("SCMP_ACT_NOTIFY")})
    expect(bool(said.strip()), "the refusal has no message")
