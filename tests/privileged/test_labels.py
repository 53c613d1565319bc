"""Labels of AppArmor and SELinux: what the executor writes, and where, also on a kernel that has neither."""

import subprocess
from pathlib import Path

import pytest

from pyruntime.execute.session import FAILED, Session
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.identity import plan_apparmor, plan_selinux
from pyruntime.plan.operations import Operation
from pyruntime.spec.config import Process

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
