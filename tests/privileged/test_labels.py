"""Labels of AppArmor and SELinux: what the executor writes, and where, also on a kernel that has neither."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyruntime.execute.session import FAILED, Session
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.identity import plan_apparmor, plan_key_label, plan_selinux
from pyruntime.plan.operations import Operation
from pyruntime.spec.config import Process
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]

PROCESS = Process(cwd="/", apparmor_profile="no-such-profile", selinux_label="no:such:label:s0")
HOST = HostFacts(apparmor=True, selinux=True)


@pytest.fixture(autouse=True)
def built() -> None:
    path = Path(__file__).resolve().parents[2] / "pyruntime/execute/executor"
    if not (path / "executor").exists():
        subprocess.run([path / "build.sh", path / "executor"], check=True)


@pytest.mark.parametrize(
    ("operations", "file", "where"),
    [
        (plan_apparmor, "self/attr/apparmor/exec", "/process/apparmorProfile"),
        (plan_selinux, "self/attr/exec", "/process/selinuxLabel"),
        (plan_key_label, "self/attr/keycreate", "/process/selinuxLabel"),
    ],
)
def test_a_label_that_the_kernel_does_not_know_is_refused_by_it(
    operations: object, file: str, where: str
) -> None:
    planned: tuple[Operation, ...] = tuple(operations(PROCESS, HOST))  # type: ignore[operator]
    session = Session(planned, first_private=3, descriptors={})
    try:
        report = session.next_report()
        assert report is not None
        assert report.kind == FAILED
        failure = session.failure(report)
        assert file in str(failure) or "self/attr/exec" in str(failure)
        assert failure.where == where
    finally:
        session.kill()


PROFILES = """
profile {0} flags=(attach_disconnected) {{
  capability, file, network, mount, umount, pivot_root, signal, ptrace, unix,
  deny /denied w,
}}
profile {0}-engine flags=(attach_disconnected) {{
  capability, file, network, mount, remount, umount, pivot_root, signal, ptrace, unix, change_profile,
}}
"""


@pytest.fixture
def profile(runtime: Runtime) -> Iterator[str]:
    """The name of a loaded AppArmor profile that keeps its processes from writing to /denied.

    There is another for engines, of the same name with -engine, that denies nothing.
    """
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not enabled.exists() or enabled.read_text() != "Y\n":
        pytest.skip("needs AppArmor")
    text = PROFILES.format(runtime.prefix)
    subprocess.run(["apparmor_parser", "--replace"], input=text, text=True, check=True)
    yield runtime.prefix
    runtime.clean()
    subprocess.run(["apparmor_parser", "--remove"], input=text, text=True, check=True)


LOOK = "cat /proc/self/attr/current; echo > /allowed && echo yes; echo > /denied || echo no"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_an_apparmor_profile_is_enforced(runtime: Runtime, profile: str, no_new_privileges: bool) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"] |= {"apparmorProfile": profile, "noNewPrivileges": no_new_privileges}

    name = runtime.new_id()
    bundle = runtime.bundle("sh", "-c", f"{LOOK}; exec sleep 100", edit=edit)
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    seen = runtime.call("exec", name, "sh", "-c", LOOK).stdout
    assert seen.splitlines() == [f"{profile} (enforce)", "yes", "no"]
    assert runtime.run("sh", "-c", LOOK, edit=edit).stdout == seen


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_what_confines_the_runtime_goes_on_to_confine_where_no_privileges_may_be_gained(
    runtime: Runtime, profile: str, no_new_privileges: bool
) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"] |= {"apparmorProfile": profile, "noNewPrivileges": no_new_privileges}

    name = runtime.new_id()
    runtime.command = ["aa-exec", "--profile", f"{profile}-engine", "--", *runtime.command]
    bundle = runtime.bundle("sleep", "100", edit=edit)
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    shown = f"{profile}//&{profile}-engine (enforce)" if no_new_privileges else f"{profile} (enforce)"
    for out in (runtime.run("sh", "-c", LOOK, edit=edit), runtime.call("exec", name, "sh", "-c", LOOK)):
        assert out.stdout.splitlines() == [shown, "yes", "no"]
