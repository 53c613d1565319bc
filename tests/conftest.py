"""What holds for every test: which run where, and that none is left out in silence."""

import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

TREE = Path(__file__).resolve().parent.parent

# How long an example takes says more about what else the machine does than about the program.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Where CI is root, a privileged test that does not run is a failure, unless its reason is one of these: a feature of
# the kernel or of the machine that no installation can add.
ALLOWED_SKIPS = {
    r"cgroup v2": "the machine mounts cgroup v1; the same tests run in a virtual machine with v2",
    r"cgroup v1": "the machine mounts cgroup v2 only",
    r"the kernel (lacks|has no|does not)": "the kernel was built without it",
    r"needs (AppArmor|SELinux)": "only one of the two can be in force, and often neither is",
    r"systemd is not the init": "the machine has another init; the same tests run in a virtual machine with systemd",
    r"the systemd driver takes no paths": "PYRUNTIME_TEST_OPTIONS chose it; without that the same tests run",
    r"no .* controller": "the kernel or the machine does not offer this cgroup controller",
}

_skipped: dict[str, str] = {}


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Caches of the user who runs the tests are neither read nor written."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests under tests/privileged are privileged; without root they are skipped."""
    for item in items:
        if "privileged" in item.path.relative_to(TREE).parts:
            item.add_marker("privileged")
        mark = item.get_closest_marker("privileged")
        if mark is not None and os.geteuid() != 0 and not mark.kwargs.get("rootless", False):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each privileged test that is skipped; in CI as root that is a failure."""
    report = yield
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    if item.get_closest_marker("privileged") is None:
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    _skipped[item.nodeid] = reason
    if in_strict_ci() and not any(re.search(pattern, reason) for pattern in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"a privileged test did not run, and its reason is not allowed in CI: {reason}"
    return report


def in_strict_ci() -> bool:
    return os.environ.get("CI") == "true" and os.geteuid() == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many privileged tests could not run, and why."""
    if not _skipped:
        return
    terminalreporter.section("privileged tests that could not run")
    reasons = list(_skipped.values())
    for reason in sorted(set(reasons)):
        terminalreporter.line(f"privileged tests that could not run: {reasons.count(reason)} ({reason})")


def program(name: str) -> list[str]:
    """How to start an installed program; PYRUNTIME_BIN names another directory than .venv/bin."""
    path = os.path.join(os.environ.get("PYRUNTIME_BIN", f"{TREE}/.venv/bin"), name)
    if os.access(path, os.X_OK):
        return [path]
    return [sys.executable, "-m", name.replace("-", "_")]


def mounts_below(directory: Path) -> list[str]:
    """What is mounted below a directory, the latest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in reversed(points) if point.startswith(f"{directory}/")]


@pytest.fixture(autouse=True)
def no_mount_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a test that leaves something mounted below this process's temporary directory, and unmount it.

    Fixtures that are set up for longer than one test come before this one and may keep theirs.
    """
    base = tmp_path_factory.getbasetemp().resolve()
    before = mounts_below(base)
    yield
    left = [point for point in mounts_below(base) if point not in before]
    for point in left:
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
    assert not left, f"the test left these mounts: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_mount_is_left_at_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for what whole modules and the session keep."""
    base = tmp_path_factory.getbasetemp().resolve()
    yield
    left = mounts_below(base)
    for point in left:
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
    assert not left, f"the tests left these mounts: {left}"


@pytest.fixture(scope="session")
def tree() -> Path:
    """The root of the source tree."""
    return TREE


@pytest.fixture(scope="session")
def pyruntime_program() -> list[str]:
    """The first words of a command line that starts `pyruntime`."""
    return program("pyruntime")


@pytest.fixture(scope="session")
def oci_image_program() -> list[str]:
    """The first words of a command line that starts `oci-image`."""
    return program("oci-image")
