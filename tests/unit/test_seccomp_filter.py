"""Seccomp: what is asked of libseccomp, and what the compiled program does, by running it."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError
from pyruntime.execute import seccomp as cache
from pyruntime.execute.libseccomp import compile_program
from pyruntime.plan.seccomp import FilterRequest, plan_filter
from pyruntime.spec.linux import Seccomp

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, ERRNO, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
ENOSYS, EPERM = ERRNO | 38, ERRNO | 1
X32 = 0x40000000
FUTURE = 1000  # larger than every number of today
on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")


def request(**profile: Any) -> FilterRequest:
    return plan_filter(decode(Seccomp, profile))


def allowlist(*names: str, **more: Any) -> dict[str, Any]:
    rule = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule], **more}


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run a classic BPF program over struct seccomp_data, as the kernel does."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<iIQ6Q", number - (1 << 32) if number >> 31 else number, architecture, 0, *padded)
    steps = list(struct.iter_unpack("<HBBI", program))
    place = accumulator = 0
    while True:
        code, yes, no, value = steps[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            place += value
        elif code == 0x06:
            return int(value)
        else:
            tests = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}
            place += yes if tests[code] else no


def run(profile: dict[str, Any], architecture: int, number: int, *arguments: int) -> int:
    return verdict(compile_program(request(**profile)), architecture, number, *arguments)


@on_x86_64
def test_calls_newer_than_the_profile_are_unknown_and_older_ones_are_denied() -> None:
    profile = allowlist("read", "statx")
    assert run(profile, X86_64, 0) == ALLOW
    assert run(profile, X86_64, 1) == EPERM
    assert run(profile, X86_64, 331) == EPERM
    assert run(profile, X86_64, FUTURE) == ENOSYS


@on_x86_64
def test_a_rule_that_repeats_the_default_still_says_what_the_profile_knows() -> None:
    profile = allowlist("read")
    profile["syscalls"].append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1})
    assert run(profile, X86_64, 435) == EPERM
    assert run(profile, X86_64, FUTURE) == ENOSYS


@on_x86_64
@pytest.mark.parametrize("number", [0, FUTURE])
def test_each_architecture_has_its_own_limit(number: int) -> None:
    profile = allowlist("read", "statx", architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    expected = {0: EPERM, FUTURE: ENOSYS}[number]
    assert run(profile, I386, number) == expected
    assert run(profile, I386, 3) == ALLOW
    assert run(profile, X86_64, X32 + FUTURE) == ENOSYS
    assert run(profile, X86_64, X32) == ALLOW
    assert run(profile, X86_64, X32 + 1) == EPERM


@on_x86_64
def test_x32_that_the_profile_does_not_name_is_never_let_through() -> None:
    profile = allowlist("read", defaultErrnoRet=1)
    assert run(profile, X86_64, X32) not in (ALLOW, ENOSYS)
    assert run(profile, X86_64, X32 + FUTURE) not in (ALLOW, ENOSYS)


@on_x86_64
def test_arguments_of_one_rule_all_count_and_the_same_one_twice_are_alternatives() -> None:
    def rule(*args: dict[str, Any]) -> dict[str, Any]:
        return {"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": list(args)}]}  # fmt: skip

    def equal(index: int, value: int) -> dict[str, Any]:
        return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}

    both = rule(equal(0, 16), equal(2, 9))
    assert run(both, X86_64, 41, 16, 0, 9) == EPERM
    assert run(both, X86_64, 41, 16, 0, 8) == ALLOW
    either = rule(equal(0, 16), equal(0, 17))
    assert [run(either, X86_64, 41, family) for family in (15, 16, 17)] == [ALLOW, EPERM, EPERM]
    masked = rule({"index": 1, "value": 0xF0, "valueTwo": 0x20, "op": "SCMP_CMP_MASKED_EQ"})
    assert [run(masked, X86_64, 41, 0, kind) for kind in (0x2F, 0x3F)] == [EPERM, ALLOW]


@on_x86_64
def test_system_calls_of_other_kernels_are_no_error() -> None:
    assert run(allowlist("read", "no_such_call_yet"), X86_64, 0) == ALLOW


def test_errno_values_are_returned_as_they_are_or_refused() -> None:
    assert request(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=4095).default_action == ERRNO | 4095
    assert request(defaultAction="SCMP_ACT_TRACE", defaultErrnoRet=0xFFFF).default_action & 0xFFFF == 0xFFFF
    for profile, where in (
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "/linux/seccomp/defaultErrnoRet"),
        ({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 1 << 16}, "/linux/seccomp/defaultErrnoRet"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65537}],
            },
            "/linux/seccomp/syscalls/0/errnoRet",
        ),
    ):
        with pytest.raises(SpecError, match="out of range") as caught:
            request(**profile)
        assert caught.value.where == where
        assert caught.value.hint


def test_notifications_need_somebody_who_can_answer() -> None:
    def profile(*names: str, **more: Any) -> dict[str, Any]:
        rule = {"names": list(names), "action": "SCMP_ACT_NOTIFY"}
        return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **more}

    assert request(**profile("mkdir", listenerPath="/run/x")).notifies
    assert not request(defaultAction="SCMP_ACT_ALLOW", listenerPath="/run/x").notifies
    with pytest.raises(SpecError, match="needs listenerPath"):
        request(**profile("mkdir"))
    with pytest.raises(SpecError, match="cannot be used for the write syscall"):
        request(**profile("mkdir", "write", listenerPath="/run/x"))
    with pytest.raises(SpecError, match="cannot be the default action"):
        request(defaultAction="SCMP_ACT_NOTIFY", listenerPath="/run/x")


def test_compiled_filters_are_kept_for_this_user_alone(tmp_path: Path) -> None:
    wanted = request(**allowlist("read"))
    directory = tmp_path / "cache"
    program = cache.compile_filter(wanted, str(directory))
    assert directory.stat().st_mode & 0o777 == 0o700
    (kept,) = directory.iterdir()
    assert kept.read_bytes() == program

    forged = struct.pack("<HBBI", 0x06, 0, 0, ALLOW)
    kept.write_bytes(forged)
    assert cache.compile_filter(wanted, str(directory)) == forged, "this test could not see a forgery"
    directory.chmod(0o777)
    assert cache.compile_filter(wanted, str(directory)) == program
    directory.chmod(0o700)
    kept.chmod(0o666)
    assert cache.compile_filter(wanted, str(directory)) == program


def test_a_cache_behind_a_symlink_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to("elsewhere")
    assert cache.compile_filter(request(**allowlist("read")), str(tmp_path / "cache"))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("broken", ["write", "rename"])
def test_a_disk_that_is_full_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    write = os.write

    def write_to_full_disk(descriptor: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(tmp_path)):
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    def rename(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, broken, {"write": write_to_full_disk, "rename": rename}[broken])
        assert cache.compile_filter(request(**allowlist("read")), str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_made_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cache.compile_filter(request(**allowlist("read")), str(tmp_path / "file/cache"))
