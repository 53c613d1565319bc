"""A D-Bus daemon of one's own with a service that answers as systemd's manager object does, for tests of the wire.

`python -m tests.fake_systemd ADDRESS JOURNAL` is the service.  As root it makes real cgroups for scopes that name a
slice; it writes each call as a line of JSON to JOURNAL, and behaves as the name of the unit says: see `Manager`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, prep_socket

from pyruntime.host.cgroups import read_cgroup_layout
from pyruntime.plan.cgroup.unit import expand_slice

TREE = Path(__file__).resolve().parent.parent
NAME, PATH, INTERFACE = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
CONFIG = """<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"""
Answer = tuple[str, tuple[Any, ...]] | None


class FakeSystemd:
    """A bus with the service on it: `address` for DBUS_..._BUS_ADDRESS, `calls()` what was asked so far."""

    def __init__(self, address: str, journal: Path) -> None:
        self.address = address
        self.journal = journal

    def calls(self) -> list[tuple[str, list[Any]]]:
        """Member and body of each call; properties as [name, [signature, value]]."""
        return [(member, body) for member, body in map(json.loads, self.journal.read_text().splitlines())]


@contextmanager
def fake_systemd(directory: Path) -> Iterator[FakeSystemd]:
    """Start the daemon and the service below `directory`, and end both."""
    directory.mkdir(exist_ok=True)
    socket, config = directory / "bus", directory / "bus.conf"
    config.write_text(CONFIG.format(path=socket))
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, until: Callable[[], bool]) -> None:
        started.append(subprocess.Popen(command, cwd=TREE, stdin=subprocess.DEVNULL))
        deadline = time.monotonic() + 20
        while not until():
            assert started[-1].poll() is None, command
            assert time.monotonic() < deadline, command
            time.sleep(0.01)

    fake = FakeSystemd(f"unix:path={socket}", directory / "journal")
    try:
        start("dbus-daemon", f"--config-file={config}", "--nofork", until=socket.exists)
        service = (sys.executable, "-m", "tests.fake_systemd", str(socket), str(fake.journal))
        start(*service, until=fake.journal.exists)
        yield fake
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(10)


class Manager:
    """The object.  Units named...

    failing-   start with a job that fails
    exists-    are there already, also after they were reset
    leftover-  are there until they are reset
    hanging-   have jobs that never end
    slow-      have jobs that end after half a second
    old-       are of a systemd that does not know AllowedCPUs
    typed-     find the type of a property wrong
    deadly-    end, with all their processes, by the first limit
    missing-   are not there when they are to be stopped
    """

    def __init__(self) -> None:
        self.units: dict[str, list[str]] = {}
        self.reset: set[str] = set()
        self.jobs = 0

    def answer(self, member: str, body: tuple[Any, ...]) -> tuple[Answer, str]:
        """The reply (signature, body), and how a job that begins with it ends ("" for none).

        Raises:
            KeyError: an error's name and text.
        """
        if member == "StartTransientUnit":
            self._start(body[0], dict(body[2]))
            return self._job(body[0])
        if member == "SetUnitProperties":
            self._check_properties(body[0], [name for name, _ in body[2]])
            if body[0].startswith("deadly-"):
                self._end(body[0])
                raise KeyError("NoSuchUnit", f"Unit {body[0]} not loaded.")
            return None, ""
        if member == "StopUnit":
            if body[0].startswith("missing-"):
                raise KeyError("NoSuchUnit", f"Unit {body[0]} not loaded.")
            self._stop(body[0])
            return self._job(body[0])
        if member == "ResetFailedUnit":
            self.reset.add(body[0])
            return None, ""
        if member == "AttachProcessesToUnit":
            return None, ""
        raise KeyError("UnknownMethod", f"Unknown method {member}")

    def _job(self, unit: str) -> tuple[Answer, str]:
        self.jobs += 1
        result = {"failing": "failed", "hanging": ""}.get(unit.partition("-")[0], "done")
        return ("o", (f"/org/freedesktop/systemd1/job/{self.jobs}",)), result

    def _check_properties(self, unit: str, names: list[str]) -> None:
        unknown = ("NoSuchThing", *(("AllowedCPUs",) if unit.startswith("old-") else ()))
        for name in names:
            if name in unknown:
                raise KeyError("PropertyReadOnly", f"Cannot set property {name}, or unknown property.")
        if unit.startswith("typed-"):
            raise KeyError("InvalidArgs", "Failed to set unit properties: Unexpected message contents")

    def _start(self, unit: str, properties: dict[str, tuple[str, Any]]) -> None:
        if unit.startswith("exists-") or (unit.startswith("leftover-") and unit not in self.reset):
            raise KeyError("UnitExists", f"Unit {unit} already exists.")
        self._check_properties(unit, list(properties))
        if not {"PIDs", "Slice"} <= properties.keys() or os.geteuid() != 0:
            return
        below = expand_slice(properties["Slice"][1])
        for hierarchy in read_cgroup_layout().hierarchies:
            if hierarchy.version == 2 or "name=systemd" in hierarchy.controllers:
                directory = f"{hierarchy.mount_point}{below}/{unit}"
                os.makedirs(directory)
                self.units.setdefault(unit, []).append(directory)
                for pid in properties["PIDs"][1]:
                    with suppress(ProcessLookupError):
                        Path(f"{directory}/cgroup.procs").write_text(str(pid))

    def _end(self, unit: str) -> None:
        """As with a memory limit that is too small: the kernel kills what is inside, and the unit is gone."""
        listed = [Path(f"{directory}/cgroup.procs") for directory in self.units.get(unit, [])]
        while pids := {pid for path in listed for pid in path.read_text().split()}:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        self._stop(unit)

    def _stop(self, unit: str) -> None:
        for directory in self.units.pop(unit, []):
            for path, _, _ in os.walk(directory, topdown=False):
                with suppress(OSError):
                    os.rmdir(path)


def serve(socket: str, journal: Path) -> None:
    """Answer calls until the daemon ends."""
    manager = Manager()
    connection = DBusConnection(prep_socket(socket))
    connection.send_and_get_reply(message_bus.RequestName(NAME))
    with journal.open("w") as log:
        while True:
            message = connection.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            fields = message.header.fields
            member = fields[HeaderFields.member]
            log.write(json.dumps([member, message.body], default=lambda value: value.hex()) + "\n")
            log.flush()
            try:
                reply, result = manager.answer(member, message.body)
            except KeyError as error:
                name, text = error.args
                connection.send(new_error(message, f"org.freedesktop.systemd1.{name}", "s", (text,)))
                continue
            connection.send(new_method_return(message, *(reply or ())))
            if result and reply is not None:
                unit = message.body[0]
                time.sleep(0.5 if unit.startswith("slow-") else 0)
                emitter = DBusAddress(PATH, interface=INTERFACE)
                body = (1, reply[1][0], unit, result)
                connection.send(new_signal(emitter, "JobRemoved", "uoss", body))


if __name__ == "__main__":
    with suppress(ConnectionResetError):
        serve(sys.argv[1], Path(sys.argv[2]))
