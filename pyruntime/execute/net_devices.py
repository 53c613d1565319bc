"""Network devices of the host that move into a container: `linux.netDevices`.

Source: config-linux.md, "Network Devices"; rtnetlink(7).  Only loaded when there is such a device.
"""

import _socket
import ctypes
import errno
import os
import threading

from pyruntime.base.errors import StepError, errno_text
from pyruntime.plan.net_devices import MoveDevice

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_REQUEST, _ACK, _DUMP, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
_ERROR, _DONE = 2, 3
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_FLAGS = 8
_PERMANENT, _IFF_UP = 0x80, 0x1
_NEW_NETWORK = 0x40000000
_BLOCK = 1 << 16
_ADDRESS_PARTS = (1, 2, 4)  # IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST; the label holds the old name
_HINTS = {
    19: "ip link lists the devices of the host",  # ENODEV
    17: "choose another name: one of the container's devices has this one",  # EEXIST
    22: "the kernel keeps such a device in its namespace",  # EINVAL
}


def move_devices(devices: tuple[MoveDevice, ...], pid: int) -> None:
    """Move devices into the network namespace of a process, with their addresses, and switch them on there.

    Raises:
        StepError: there is no such device, its name is taken there, or the kernel refuses the move.
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _Netlink() as here, _in_namespace(namespace) as there:
            for device in devices:
                try:
                    _move(device, namespace, here, there)
                except OSError as error:
                    raise StepError(
                        f"{device.describe()}: {errno_text(error.errno or 0)}",
                        where=device.origin,
                        hint=_HINTS.get(error.errno or 0, "moving a device needs CAP_NET_ADMIN on the host"),
                        call="rtnetlink",
                        errno=error.errno or 0,
                    ) from None
    finally:
        os.close(namespace)


def _move(device: MoveDevice, namespace: int, here: "_Netlink", there: "_Netlink") -> None:
    index, flags = here.find(device.name)
    # The kernel would move the device first and refuse the name then: it would be lost with the container.
    if there.has(device.new_name):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    addresses = here.addresses_of(index)
    here.request(_NEWLINK, _link(index, flags=0, change=_IFF_UP))
    name = _attribute(_IFLA_IFNAME, device.new_name.encode() + b"\0")
    target = _attribute(_IFLA_NET_NS_FD, namespace.to_bytes(4, "little"))
    try:
        here.request(_NEWLINK, _link(index) + target + name)
    except OSError:
        # It stays the host's, which shall find it as it was.
        here.request(_NEWLINK, _link(index, flags=flags & _IFF_UP, change=_IFF_UP))
        raise
    # The kernel may have given it another number there.
    moved, _ = there.find(there.name_like(device.new_name))
    for address in addresses:
        there.request(_NEWADDR, address[:4] + moved.to_bytes(4, "little") + address[8:], _CREATE | _EXCLUSIVE)
    there.request(_NEWLINK, _link(moved, flags=_IFF_UP, change=_IFF_UP))


class _Netlink:
    """A socket to the kernel, in the network namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
        self._sequence = 0

    def __enter__(self) -> "_Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send a request and wait for its end; returns the bodies of the messages that answer it.

        Raises:
            OSError: the kernel refuses it.
        """
        self._sequence += 1
        length = 16 + len(body)
        head = length.to_bytes(4, "little") + kind.to_bytes(2, "little")
        head += (flags | _REQUEST | _ACK).to_bytes(2, "little")
        self._socket.send(head + self._sequence.to_bytes(4, "little") + bytes(4) + body)
        answers: list[bytes] = []
        while True:
            data = self._socket.recv(_BLOCK)
            while len(data) >= 16:
                size = int.from_bytes(data[:4], "little")
                answer, content = int.from_bytes(data[4:6], "little"), data[16:size]
                if answer in (_ERROR, _DONE):
                    number = -int.from_bytes(content[:4], "little", signed=True)
                    if number:
                        raise OSError(number, os.strerror(number))
                    return answers
                answers.append(content)
                data = data[(size + 3) & ~3 :]

    def has(self, name: str) -> bool:
        """Whether there is a device of this name."""
        try:
            self.find(name)
        except OSError:
            return False
        return True

    def find(self, name: str) -> tuple[int, int]:
        """The number of a device and its IFF_ flags."""
        (answer,) = self.request(_GETLINK, _link(0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0"))
        return int.from_bytes(answer[4:8], "little"), int.from_bytes(answer[8:12], "little")

    def name_like(self, name: str) -> str:
        """The name that the kernel has made of a pattern such as "eth%d": the one with the highest number."""
        if "%d" not in name:
            return name
        head, _, tail = name.partition("%d")
        found: list[int] = []
        for answer in self.request(_GETLINK, _link(0), _DUMP):
            other = _attributes(answer[16:]).get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
            middle = other[len(head) : len(other) - len(tail)]
            if other.startswith(head) and other.endswith(tail) and middle.isdecimal():
                found.append(int(middle))
        return f"{head}{max(found)}{tail}"

    def addresses_of(self, index: int) -> list[bytes]:
        """The permanent addresses of global scope, as requests that add them again."""
        found: list[bytes] = []
        for answer in self.request(_GETADDR, bytes(8), _DUMP):
            attributes = _attributes(answer[8:])
            flags = int.from_bytes(attributes.get(_IFA_FLAGS, answer[2:3]), "little")
            of_device = int.from_bytes(answer[4:8], "little") == index
            if of_device and answer[3] == 0 and flags & _PERMANENT:
                kept = {kind: value for kind, value in attributes.items() if kind in _ADDRESS_PARTS}
                found.append(answer[:8] + b"".join(_attribute(kind, value) for kind, value in kept.items()))
        return found


def _in_namespace(namespace: int) -> _Netlink:
    """A socket in another network namespace, made by a thread that enters it for good."""
    made: list[_Netlink] = []
    failures: list[OSError] = []

    def work() -> None:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _NEW_NETWORK) < 0:
            number = ctypes.get_errno()
            failures.append(OSError(number, os.strerror(number)))
        else:
            made.append(_Netlink())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return made[0]


def _link(index: int, *, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg."""
    return bytes(4) + index.to_bytes(4, "little") + flags.to_bytes(4, "little") + change.to_bytes(4, "little")


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return size.to_bytes(2, "little") + kind.to_bytes(2, "little") + value + bytes(-size % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        size = int.from_bytes(data[:2], "little")
        if size < 4:
            break
        found[int.from_bytes(data[2:4], "little") & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found
