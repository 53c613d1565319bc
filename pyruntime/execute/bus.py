"""A connection to systemd over D-Bus, with a time limit for everything.

Source: D-Bus Specification; org.freedesktop.systemd1(5); sd-bus for the short form of the authentication.
"""

import _socket
import os
import time

from jeepney.bus import get_connectable_addresses
from jeepney.low_level import Endianness, Header, HeaderFields, Message, MessageType, Parser

from pyruntime.base.errors import HostError, errno_text
from pyruntime.host.systemd import host_user_id

CONNECT_SECONDS = 5.0
CALL_SECONDS = 30.0  # as long as runc waits: a busy systemd takes its time

_SO_PEERCRED = 17
_SYSTEM_SOCKET = "/run/dbus/system_bus_socket"
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER_PATH, _MANAGER = "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
_BUS, _BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
_JOBS = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'"
_NOT_AN_INIT = "is systemd the init of this host? if not, leave --systemd-cgroup out"


class BusError(Exception):
    """An answer that is an error: `name` as D-Bus has it, and a text for people."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text} ({name})")
        self.name = name.rpartition(".")[2]
        self.text = text


class SystemdConnection:
    """One connection to the system's or the user's systemd; closed by the end of a `with`."""

    def __init__(self, *, of_user: bool) -> None:
        """Connect.

        Raises:
            HostError: nobody answers; it names what was tried.
        """
        self._serial = 0
        self._parser = Parser()
        self._removed_jobs: dict[str, str] = {}
        self._whose = "the user's systemd" if of_user else "systemd"
        self._connection, self._through_bus = self._connect(_places(of_user))
        if self._through_bus:
            self._call_bus("Hello")
            # Only a bus has to be told who wants which signals.
            self._call_bus("AddMatch", "s", _JOBS)

    def __enter__(self) -> "SystemdConnection":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    def require_same_processes(self) -> None:
        """Make sure that a process id means the same process here and there.

        Raises:
            HostError: the other side is in a pid namespace that cannot be seen from here; systemd would move, and at
                the end kill, whatever has that id in its own.
        """
        credentials = self._connection.getsockopt(_socket.SOL_SOCKET, _SO_PEERCRED, 12)
        if int.from_bytes(credentials[:4], "little") == 0:
            hint = "run it in the pid namespace of systemd, or leave --systemd-cgroup out"
            raise HostError(
                f"{self._whose} is in another pid namespace: process ids mean others there", hint=hint
            )

    def call(self, member: str, signature: str = "", *body: object) -> tuple[object, ...]:
        """Call a method of systemd's manager object and wait for the answer.

        Raises:
            BusError: the answer is an error.
            HostError: there is none in time.
        """
        return self._call(_SYSTEMD, _MANAGER_PATH, _MANAGER, member, signature, body)

    def run_job(self, member: str, signature: str, *body: object) -> str:
        """Call a method that starts a job and wait for its end; returns how it ended: "done", "failed" ...

        Raises:
            BusError: there is no job.
            HostError: it does not end in time.
        """
        (job,) = self.call(member, signature, *body)
        deadline = time.monotonic() + CALL_SECONDS
        while job not in self._removed_jobs:
            self._receive(deadline)
        return self._removed_jobs[str(job)]

    def _connect(self, places: list[tuple[str, bool]]) -> "tuple[_socket.socket, bool]":
        tried = []
        for address, through_bus in places:
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(address)
                _authenticate(connection)
            except (OSError, HostError) as error:
                connection.close()
                reason = errno_text(error.errno) if isinstance(error, OSError) and error.errno else str(error)
                tried.append(f"{address.replace(chr(0), '@')}: {reason}")
                continue
            return connection, through_bus
        what = f"cannot connect to {self._whose}: {'; '.join(tried) or 'no address is known'}"
        raise HostError(what, hint=_NOT_AN_INIT)

    def _call_bus(self, member: str, signature: str = "", *body: object) -> None:
        try:
            self._call(_BUS, _BUS_PATH, _BUS, member, signature, body)
        except BusError as error:
            raise HostError(f"the D-Bus daemon refuses {member}: {error}", hint=_NOT_AN_INIT) from None

    def _call(
        self, to: str, path: str, interface: str, member: str, signature: str, body: tuple[object, ...]
    ) -> tuple[object, ...]:
        self._serial += 1
        serial, deadline = self._serial, time.monotonic() + CALL_SECONDS
        fields = {HeaderFields.path: path, HeaderFields.interface: interface, HeaderFields.member: member}
        if self._through_bus:
            fields[HeaderFields.destination] = to
        if signature:
            fields[HeaderFields.signature] = signature
        header = Header(Endianness.little, MessageType.method_call, 0, 1, -1, -1, fields)
        data = Message(header, body).serialise(serial=serial)
        try:
            self._connection.settimeout(CALL_SECONDS)
            self._connection.sendall(data)
        except OSError as error:
            raise self._lost(error) from None
        while True:
            message = self._receive(deadline)
            if message.header.fields.get(HeaderFields.reply_serial) != serial:
                continue
            if message.header.message_type is MessageType.error:
                text = str(message.body[0]) if message.body else ""
                raise BusError(message.header.fields.get(HeaderFields.error_name, ""), text)
            return tuple(message.body)

    def _receive(self, deadline: float) -> Message:
        """The next message; the end of a job is noted, whoever has started it."""
        message = self._parser.get_next_message()
        while message is None:
            try:
                self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
                data = self._connection.recv(1 << 16)
            except OSError as error:
                raise self._lost(error) from None
            if not data:
                raise HostError(f"{self._whose} has closed the connection", hint="try again")
            self._parser.add_data(data)
            message = self._parser.get_next_message()
        fields = message.header.fields
        if (
            message.header.message_type is MessageType.signal
            and fields.get(HeaderFields.member) == "JobRemoved"
        ):
            _, job, _, result = message.body
            self._removed_jobs[job] = result
        return message

    def _lost(self, error: OSError) -> HostError:
        if isinstance(error, TimeoutError) or not error.errno:
            hint = "it may be overloaded: see journalctl -u dbus, and systemctl list-jobs"
            return HostError(f"{self._whose} does not answer within {CALL_SECONDS:.0f} seconds", hint=hint)
        return HostError(f"{self._whose} does not answer: {errno_text(error.errno)}", hint="try again")


def _places(of_user: bool) -> list[tuple[str, bool]]:
    """Where systemd may be reached: addresses of sockets, and whether a bus is behind them or systemd itself."""
    variable = "DBUS_SESSION_BUS_ADDRESS" if of_user else "DBUS_SYSTEM_BUS_ADDRESS"
    named = os.environ.get(variable, "")
    found: list[str] = []
    if named:
        try:
            found += get_connectable_addresses(named)
        except (RuntimeError, ValueError):
            hint = f"such as {variable}=unix:path={_SYSTEM_SOCKET}"
            raise HostError(f"{variable} cannot be read: {named}", hint=hint) from None
    if not of_user:
        # Who names a bus means that one; else systemd itself answers root also where no daemon runs.
        return [(path, True) for path in found] or [(_SYSTEM_SOCKET, True), ("/run/systemd/private", False)]
    folders = dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{host_user_id()}"))
    buses = [*found, *(f"{folder}/bus" for folder in folders if folder)]
    private = [(f"{folder}/systemd/private", False) for folder in folders if folder]
    return [(path, True) for path in dict.fromkeys(buses)] + private


def _authenticate(connection: "_socket.socket") -> None:
    """SASL EXTERNAL without saying who we are: the other side asks the kernel, which knows it in its own ids.

    Raises:
        HostError: we are refused.
    """
    connection.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
    received = b""
    while b"OK " not in received or not received.endswith(b"\r\n"):
        data = connection.recv(4096)
        received += data
        if not data or b"REJECTED" in received or len(received) > 1 << 14:
            raise HostError("the connection is refused")
    connection.sendall(b"BEGIN\r\n")
