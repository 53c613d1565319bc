"""What goes over the wire to systemd, and how its answers are taken; the other side is an imitation on a real bus."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyruntime.base.errors import HostError, StateError, StepError
from pyruntime.execute import bus
from pyruntime.execute.bus import SystemdConnection
from pyruntime.execute.systemd import attach_process, set_unit_properties, start_unit, stop_unit
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.plan.cgroup.operations import SetUnitProperties, StartUnit, UnitProperty
from tests.fake_systemd import FakeSystemd, fake_systemd

PROPERTIES = (
    UnitProperty(origin="/a", name="Description", signature="s", value="a container"),
    UnitProperty(origin="/b", name="AllowedCPUs", signature="ay", value=b"\x03"),
    UnitProperty(origin="/c", name="DeviceAllow", signature="a(ss)", value=[("/dev/null", "rw")]),
    UnitProperty(origin="/d", name="TasksMax", signature="t", value=(1 << 64) - 1),
)
ON_THE_WIRE = [
    ["Description", ["s", "a container"]],
    ["AllowedCPUs", ["ay", "03"]],
    ["DeviceAllow", ["a(ss)", [["/dev/null", "rw"]]]],
    ["TasksMax", ["t", (1 << 64) - 1]],
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSystemd]:
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed (scripts/host-packages test)")
    with fake_systemd(tmp_path_factory.mktemp("bus")) as fake:
        yield fake


@pytest.fixture
def systemd(service: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    """The imitation, reached as the system's systemd and as the user's."""
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, service.address)
    return service


def slice_named(name: str) -> StartUnit:
    """A unit without processes: to move one takes root."""
    return StartUnit(origin="/linux/cgroupsPath", unit=name, properties=PROPERTIES, with_process=False)


def calls_for(systemd: FakeSystemd, unit: str) -> list[str]:
    return [member for member, body in systemd.calls() if body[0] == unit]


@pytest.mark.parametrize("of_user", [False, True])
def test_a_unit_is_started_with_its_properties(systemd: FakeSystemd, of_user: bool) -> None:
    unit = f"plain-{of_user}.slice"
    start_unit(slice_named(unit).replace(of_user=of_user), 0)
    assert ("StartTransientUnit", [unit, "replace", ON_THE_WIRE, []]) in systemd.calls()
    assert calls_for(systemd, unit) == ["StartTransientUnit"], "one call, however busy systemd may be"


def test_the_end_of_the_job_is_waited_for(systemd: FakeSystemd) -> None:
    began = time.monotonic()
    start_unit(slice_named("slow-a.slice"), 0)
    assert time.monotonic() - began >= 0.5


def test_a_job_that_fails_leaves_no_failed_unit_behind(systemd: FakeSystemd) -> None:
    with pytest.raises(StepError, match=r"error creating systemd unit `failing-a\.slice`: got `failed`"):
        start_unit(slice_named("failing-a.slice"), 0)
    assert calls_for(systemd, "failing-a.slice") == ["StartTransientUnit", "ResetFailedUnit"]


def test_what_is_left_of_an_older_unit_is_reset_first(systemd: FakeSystemd) -> None:
    start_unit(slice_named("leftover-a.slice"), 0)
    assert calls_for(systemd, "leftover-a.slice") == [
        "StartTransientUnit",
        "ResetFailedUnit",
        "StartTransientUnit",
    ]


def test_a_unit_that_is_there_is_somebody_elses(systemd: FakeSystemd) -> None:
    with pytest.raises(StateError, match=r"unit exists-a\.slice already exists") as failure:
        start_unit(slice_named("exists-a.slice"), 0)
    assert failure.value.where == "/linux/cgroupsPath"


def test_a_scope_that_is_elsewhere_than_planned_is_an_error(systemd: FakeSystemd) -> None:
    operation = slice_named("plain-place.scope").replace(with_process=True, directories=("/sys/fs/cgroup/x",))
    with pytest.raises(HostError, match="elsewhere than planned"):
        start_unit(operation, os.getpid())
    (body,) = [body for member, body in systemd.calls() if body[0] == "plain-place.scope"]
    assert ["PIDs", ["au", [os.getpid()]]] in body[2]


@pytest.mark.parametrize(
    ("unit", "added", "where"),
    [
        ("plain-b.slice", "NoSuchThing", "/annotations/org.systemd.property.NoSuchThing"),
        ("typed-b.slice", "CollectMode", "/annotations/org.systemd.property.CollectMode"),
    ],
)
def test_a_property_that_systemd_refuses_is_shown_at_its_annotation(
    systemd: FakeSystemd, unit: str, added: str, where: str
) -> None:
    operation = slice_named(unit)
    extra = UnitProperty(origin=where, name=added, signature="s", value="")
    with pytest.raises(StepError) as failure:
        start_unit(operation.replace(properties=(*operation.properties, extra)), 0)
    assert failure.value.where == where
    assert "org.freedesktop.systemd1(5)" in failure.value.hint


def test_an_older_systemd_is_told_the_rest(systemd: FakeSystemd) -> None:
    set_unit_properties(SetUnitProperties(unit="old-a.scope", properties=PROPERTIES))
    bodies = [body for member, body in systemd.calls() if body[0] == "old-a.scope"]
    assert bodies[0] == ["old-a.scope", True, ON_THE_WIRE]
    assert [name for name, _ in bodies[1][2]] == ["Description", "DeviceAllow", "TasksMax"]


def test_a_unit_is_stopped_and_forgotten(systemd: FakeSystemd) -> None:
    stop_unit("plain-c.scope", of_user=False)
    assert calls_for(systemd, "plain-c.scope") == ["StopUnit", "ResetFailedUnit"]
    stop_unit("missing-a.scope", of_user=False)
    assert calls_for(systemd, "missing-a.scope") == ["StopUnit"]


def test_a_process_is_moved_into_the_sub_cgroup(systemd: FakeSystemd) -> None:
    attach_process(CgroupPlan(unit="plain-d.scope", unit_of_user=True, attach="/container"), 4711)
    assert ("AttachProcessesToUnit", ["plain-d.scope", "/container", [4711]]) in systemd.calls()


def test_a_systemd_that_hangs_is_given_up_with_a_hint(
    systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "CALL_SECONDS", 0.4)
    with pytest.raises(HostError, match="systemd does not answer within") as failure:
        start_unit(slice_named("hanging-a.slice"), 0)
    assert "list-jobs" in failure.value.hint


def test_nobody_there_is_said_with_all_that_was_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(bus, "host_user_id", lambda: 4_000_000)
    with pytest.raises(HostError, match="support for managing cgroups is not available") as failure:
        start_unit(slice_named("x.slice").replace(of_user=True), 0)
    for tried in (
        f"{tmp_path}/none",
        f"{tmp_path}/bus",
        f"{tmp_path}/systemd/private",
        "/run/user/4000000/bus",
    ):
        assert tried in failure.value.what


def test_an_address_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "nonsense")
    with pytest.raises(HostError, match="DBUS_SESSION_BUS_ADDRESS cannot be read"):
        SystemdConnection(of_user=True)


def test_without_a_bus_systemd_is_asked_directly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(bus, "host_user_id", lambda: 4_000_000)
    (tmp_path / "systemd").mkdir()
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "systemd/private"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(4096))
                connection.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n")
                received.append(connection.recv(4096))

        thread = threading.Thread(target=answer)
        thread.start()
        with SystemdConnection(of_user=True):
            pass
        thread.join(10)
    # No "Hello": there is no daemon in between that would give names.
    assert received == [b"\0AUTH EXTERNAL\r\nDATA\r\n", b"BEGIN\r\n"]
