"""Planning is pure: an audit hook watches it, and no event of the interpreter may say that it touched anything."""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent.parent
GOLDEN = sorted((TREE / "tests" / "golden").rglob("*.json"))
# Events that a computation in memory may cause.  All others (open, os.*, socket.*, ctypes.*, import, exec ...) may not.
HARMLESS = {"object.__getattr__", "object.__setattr__", "object.__delattr__", "code.__new__", "sys._getframe"}

# Something of every subject that is planned.
RICH: dict[str, object] = {
    "ociVersion": "1.3.0",
    "process": {
        "args": ["sh", "-c", "true"],
        "cwd": "/tmp",
        "env": ["PATH=/bin"],
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
        "capabilities": {
            name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted", "inheritable")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "domainname": "example",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "ro", "rslave"]},
    ],
    "hooks": {
        "createRuntime": [{"path": "/bin/true", "timeout": 5}],
        "createContainer": [{"path": "/bin/true"}],
        "startContainer": [{"path": "/bin/true"}],
    },
    "linux": {
        "namespaces": [
            {"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")
        ],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "cgroupsPath": "/box",
        "resources": {
            "memory": {"limit": 67108864},
            "cpu": {"shares": 512, "quota": 5000, "period": 10000},
            "pids": {"limit": 32},
            "devices": [{"allow": False, "access": "rwm"}],
        },
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
        },
    },
}

_recording: list[str] | None = None
_installed = False


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _recording is not None and event not in HARMLESS:
        _recording.append(f"{event} {arguments!r}"[:200])


@contextmanager
def recorded_events() -> Iterator[list[str]]:
    """The audit events of a block.  A hook stays for the life of the process, so there is one, switched on here."""
    global _recording, _installed
    if not _installed:
        sys.addaudithook(_note)
        _installed = True
    events: list[str] = []
    _recording = events
    try:
        yield events
    finally:
        _recording = None


def import_planning() -> None:
    """Import all of it first: loading code is not planning."""
    package = importlib.import_module("pyruntime.plan")
    for module in pkgutil.walk_packages(package.__path__, "pyruntime.plan."):
        importlib.import_module(module.name)


def configs() -> Iterator[tuple[str, bytes]]:
    yield "rich", json.dumps(RICH).encode()
    for path in GOLDEN:
        text = path.read_bytes()
        if b'"ociVersion"' in text:
            yield str(path.relative_to(TREE)), text


@pytest.mark.parametrize("mode", ["v1", "v2", "none"])
@pytest.mark.parametrize(("name", "text"), [pytest.param(*case, id=case[0]) for case in configs()])
def test_planning_touches_nothing(name: str, text: bytes, mode: str) -> None:
    import_planning()
    from pyruntime.base.errors import ExpectedError
    from pyruntime.plan.cgroup.layout import CgroupLayout, Hierarchy
    from pyruntime.plan.facts import HostFacts
    from pyruntime.plan.launch import plan_create
    from pyruntime.spec.load import decode_config

    controllers = ("cpu", "cpuset", "memory", "pids", "devices", "io", "hugetlb")
    hierarchies = {
        "v1": tuple(
            Hierarchy(version=1, controllers=(controller,), mount_point=f"/sys/fs/cgroup/{controller}")
            for controller in (*controllers, "name=systemd")
        ),
        "v2": (Hierarchy(version=2, controllers=controllers, mount_point="/sys/fs/cgroup"),),
        "none": (),
    }[mode]
    layout = CgroupLayout(mode=mode, hierarchies=hierarchies)
    config = decode_config(text)
    refused: ExpectedError | None = None
    with recorded_events() as events:
        try:
            plan = plan_create(config, "box", "/bundle", HostFacts(), layout)
            for operation in plan.operations:
                operation.describe()
        except ExpectedError as error:
            refused = error
    assert not events, "\n".join(events)
    # A refusal is pure as well, but only the host without cgroups may be a reason for one here.
    assert refused is None or mode == "none" or name != "rich", refused


def test_the_hook_would_notice() -> None:
    with recorded_events() as events:
        open("/dev/null", "rb").close()
    assert any(event.startswith("open ") for event in events)
