"""`linux.netDevices`: which devices of the host move into the container.

Source: config-linux.md, "Network Devices".
"""

from pyruntime.base.decode import escape
from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.plan.view import ContainerView

_LONGEST_NAME = 15  # IFNAMSIZ without its terminator


class MoveDevice(Record):
    """Move the host's network device `name` into the container, as `new_name` (the parent does it)."""

    origin: str = ""
    name: str
    new_name: str

    def describe(self) -> str:
        return f"move the network device {self.name} into the container as {self.new_name}"


def plan_net_devices(view: ContainerView) -> tuple[MoveDevice, ...]:
    """The devices to be moved.

    Raises:
        SpecError: a name is none, there is no network namespace to move to, or nobody may move a device.
    """
    linux = view.config.linux
    if linux is None or not linux.net_devices:
        return ()
    where = "/linux/netDevices"
    if not view.has_namespace("network"):
        hint = 'add {"type": "network"} to linux.namespaces'
        raise SpecError("netDevices need a private network namespace", where=where, hint=hint)
    if view.facts.rootless:
        hint = "run as root of the host, or leave netDevices out"
        raise SpecError("netDevices are not possible for rootless containers", where=where, hint=hint)
    devices: list[MoveDevice] = []
    for name, device in linux.net_devices.items():
        origin = f"{where}/{escape(name)}"
        new_name = device.name or name
        for each, pointer in ((name, origin), (new_name, f"{origin}/name")):
            if not _is_name(each):
                hint = f"at most {_LONGEST_NAME} bytes, without blanks, '/' and ':'"
                raise SpecError(f"invalid network device name {each!r}", where=pointer, hint=hint)
        devices.append(MoveDevice(origin=origin, name=name, new_name=new_name))
    return tuple(devices)


def _is_name(name: str) -> bool:
    fits = 0 < len(name.encode("utf-8", "surrogateescape")) <= _LONGEST_NAME
    return fits and name not in (".", "..") and not any(sign in "/:" or sign.isspace() for sign in name)
