"""Device nodes and the links of /dev.  Source: config-linux.md, "Devices" and "Default Devices"."""

from pyruntime.base.errors import SpecError
from pyruntime.plan.operations import BindDevice, MakeDevice, MakeSymlink, Operation
from pyruntime.plan.view import ContainerView
from pyruntime.spec.config import Config
from pyruntime.spec.linux import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

S_IFCHR = 0o020000
S_IFBLK = 0o060000
S_IFIFO = 0o010000
DEVICE_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}

DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

_DEFAULT_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
)


def plan_devices(view: ContainerView) -> "Iterator[Operation]":
    """The default devices, `linux.devices` and the links of /dev.

    A configured device replaces the default one of the same path.  Nothing is made where the
    configuration binds a /dev of its own.  In a user namespace mknod is not allowed, so the host's nodes
    are bound instead.

    Raises:
        SpecError: a device in the list is of an unknown type or lacks its numbers.
    """
    config, facts = view.config, view.facts
    if _dev_is_bound(config):
        return
    configured = config.linux.devices if config.linux is not None else ()
    configured_paths = {device.path for device in configured}
    bind = view.has_user_namespace or facts.rootless

    for path, major, minor in DEFAULT_DEVICES:
        if path in configured_paths:
            continue
        if bind:
            yield BindDevice(host_path=path, path=path, mode=S_IFCHR, major=major, minor=minor)
        else:
            yield MakeDevice(
                path=path,
                mode=S_IFCHR | 0o666,
                major=major,
                minor=minor,
                uid=0,
                gid=0,
                fallback_host_path=path,
            )
    for index, device in enumerate(configured):
        yield _plan_device(device, f"/linux/devices/{index}", bind=bind)

    for target, path in _DEFAULT_LINKS:
        yield MakeSymlink(target=target, path=path)
    if facts.has_kcore:
        yield MakeSymlink(target="/proc/kcore", path="/dev/core")
    yield MakeSymlink(target="pts/ptmx", path="/dev/ptmx", force=1)


def _dev_is_bound(config: Config) -> bool:
    return any(
        mount.destination.strip("/") == "dev" and ("bind" in mount.options or "rbind" in mount.options)
        for mount in config.mounts
    )


def _plan_device(device: Device, origin: str, *, bind: bool) -> Operation:
    kind = DEVICE_TYPES.get(device.type)
    if kind is None:
        hint = "use c (character), b (block), u (unbuffered character) or p (fifo)"
        raise SpecError(f"unknown device type {device.type!r}", where=f"{origin}/type", hint=hint)
    if kind != S_IFIFO and (device.major is None or device.minor is None):
        hint = 'add "major" and "minor": only a fifo has none'
        raise SpecError(f"device {device.path} has no device numbers", where=origin, hint=hint)
    if bind and kind != S_IFIFO:
        return BindDevice(
            origin=origin,
            host_path=device.path,
            path=device.path,
            mode=kind,
            major=device.major or 0,
            minor=device.minor or 0,
        )
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    return MakeDevice(
        origin=origin,
        path=device.path,
        mode=kind | mode,
        major=device.major or 0,
        minor=device.minor or 0,
        uid=device.uid or 0,
        gid=device.gid or 0,
        fallback_host_path="" if kind == S_IFIFO else device.path,
    )
