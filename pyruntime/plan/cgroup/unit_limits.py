"""`linux.resources` as properties of a systemd unit.  Pure.

systemd writes what it knows of whenever it is told to reload, so it has to know the limits that are in the cgroup's
files.  What it has no property for, or rounds, stands in the files alone.

Source: org.freedesktop.systemd1(5); systemd.resource-control(5); the property map of runc's systemd.md.
"""

from pyruntime.base.decode import escape
from pyruntime.plan.cgroup.cpu import weight_of_shares
from pyruntime.plan.cgroup.devices import Rule
from pyruntime.plan.cgroup.memory import swap_alone
from pyruntime.plan.cgroup.operations import INFINITY, UnitProperty
from pyruntime.plan.cpu_list import cpu_mask
from pyruntime.spec.linux import BlockIo, Cpu, Memory, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ORIGIN = "/linux/resources"
_SECOND = 1_000_000  # microseconds
_PERCENT = 10_000  # of a second, in microseconds: systemd's unit of CPU quotas
_DEFAULT_PERIOD = 100_000
_CGROUP_FILES = {
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}


def unit_limits(resources: Resources, *, unified: bool) -> tuple[UnitProperty, ...]:
    """The limits that systemd has properties for; of two for the same one the last counts.

    Raises:
        SpecError: a limit makes no sense.
    """
    found: list[UnitProperty] = []
    if resources.memory is not None:
        found += _memory(resources.memory, unified=unified)
    if resources.cpu is not None:
        found += _cpu(resources.cpu, unified=unified)
    limit = resources.pids.limit if resources.pids is not None else None
    if limit is not None:
        # 0 is 1, as in the cgroup's file: the container's own process has to fit.
        value = INFINITY if limit < 0 else max(limit, 1)
        found.append(_number("TasksMax", value, f"{_ORIGIN}/pids/limit"))
    if resources.block_io is not None:
        found += _block_io(resources.block_io, unified=unified)
    if unified:
        for key, text in resources.unified.items():
            found += _unified(key, text.strip(), f"{_ORIGIN}/unified/{escape(key)}")
    return tuple(found)


def unit_devices(rules: tuple[Rule, ...], *, exact_elsewhere: bool) -> tuple[UnitProperty, ...]:
    """The device policy as systemd can say it: what is allowed, and nothing else is.

    Some rules cannot be said so: one number out of all, or all but one.  With `exact_elsewhere` the container's own
    program denies what has to be denied, so that systemd may allow too much; else it allows too little.
    """
    if not rules:
        return ()
    origin = f"{_ORIGIN}/devices"
    allowed, is_all = _allowed_devices(rules, generous=exact_elsewhere)
    policy = "auto" if is_all else "strict"
    lists = (
        [[]] if is_all or not allowed else [[], [(_device(key), access) for key, access in allowed.items()]]
    )
    return (
        UnitProperty(origin=origin, name="DevicePolicy", signature="s", value=policy),
        # An empty list takes back what there is; another one adds to it.
        *(UnitProperty(origin=origin, name="DeviceAllow", signature="a(ss)", value=each) for each in lists),
    )


def _number(name: str, value: int, origin: str) -> UnitProperty:
    return UnitProperty(origin=origin, name=name, signature="t", value=INFINITY if value < 0 else value)


def _memory(memory: Memory, *, unified: bool) -> "Iterator[UnitProperty]":
    if memory.limit:
        yield _number("MemoryMax" if unified else "MemoryLimit", memory.limit, f"{_ORIGIN}/memory/limit")
    if not unified:
        return
    if memory.reservation:
        yield _number("MemoryLow", memory.reservation, f"{_ORIGIN}/memory/reservation")
    swap = swap_alone(memory)
    if swap is not None:
        yield _number("MemorySwapMax", _value_of(swap), f"{_ORIGIN}/memory/swap")


def _cpu(cpu: Cpu, *, unified: bool) -> "Iterator[UnitProperty]":
    if unified and cpu.idle == 1:
        yield _number("CPUWeight", 0, f"{_ORIGIN}/cpu/idle")
    elif unified and cpu.idle == 0 and not cpu.shares:
        # A weight of 0 stands for idle, which has to be taken back.
        yield _number("CPUWeight", INFINITY, f"{_ORIGIN}/cpu/idle")
    elif cpu.shares:
        weight = weight_of_shares(cpu.shares) if unified else cpu.shares
        yield _number("CPUWeight" if unified else "CPUShares", weight, f"{_ORIGIN}/cpu/shares")
    yield from _cpu_quota(cpu.quota or 0, cpu.period or 0, f"{_ORIGIN}/cpu/quota")
    for name, key, value in (("AllowedCPUs", "cpus", cpu.cpus), ("AllowedMemoryNodes", "mems", cpu.mems)):
        if value:
            yield _mask(name, value, f"{_ORIGIN}/cpu/{key}")


def _cpu_quota(quota: int, period: int, origin: str) -> "Iterator[UnitProperty]":
    """systemd counts in percent: rounded up, so that the file below may have what was asked for."""
    if period:
        yield _number("CPUQuotaPeriodUSec", period, origin)
    if quota > 0:
        exact = quota * _SECOND // (period or _DEFAULT_PERIOD)
        yield _number("CPUQuotaPerSecUSec", -(-exact // _PERCENT) * _PERCENT, origin)
    elif quota or period:
        yield _number("CPUQuotaPerSecUSec", INFINITY, origin)


def _mask(name: str, cpus: str, origin: str) -> UnitProperty:
    value = cpu_mask(cpus, origin).rstrip(b"\0")
    return UnitProperty(origin=origin, name=name, signature="ay", value=value)


def _block_io(block_io: BlockIo, *, unified: bool) -> "Iterator[UnitProperty]":
    origin = f"{_ORIGIN}/blockIO"
    if block_io.weight:
        weight = 1 + (block_io.weight - 10) * 9999 // 990 if unified else block_io.weight
        yield _number("IOWeight" if unified else "BlockIOWeight", weight, f"{origin}/weight")
    if not unified:
        return
    throttles = (
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device, "IOReadBandwidthMax"),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device, "IOWriteBandwidthMax"),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device, "IOReadIOPSMax"),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device, "IOWriteIOPSMax"),
    )
    for key, devices, name in throttles:
        if devices:
            entries = [
                (f"/dev/block/{device.major}:{device.minor}", device.rate or INFINITY) for device in devices
            ]
            yield UnitProperty(origin=f"{origin}/{key}", name=name, signature="a(st)", value=entries)


def _unified(key: str, text: str, origin: str) -> "Iterator[UnitProperty]":
    """The files that systemd writes too; what a value means is for the kernel to judge."""
    if key in _CGROUP_FILES and (text == "max" or text.isdigit()):
        yield _number(_CGROUP_FILES[key], _value_of(text), origin)
    elif key == "cpu.idle" and text == "1":
        yield _number("CPUWeight", 0, origin)
    elif key == "cpu.max":
        quota, _, period = text.partition(" ")
        if quota.isdigit() or quota == "max":
            limit = int(quota) if quota.isdigit() else -1
            yield from _cpu_quota(limit, int(period) if period.isdigit() else _DEFAULT_PERIOD, origin)
    elif key == "cpuset.cpus" and text:
        yield _mask("AllowedCPUs", text, origin)
    elif key == "cpuset.mems" and text:
        yield _mask("AllowedMemoryNodes", text, origin)


def _value_of(text: str) -> int:
    return INFINITY if text == "max" else int(text)


_Key = tuple[str, int, int]


def _allowed_devices(rules: tuple[Rule, ...], *, generous: bool) -> tuple[dict[_Key, str], bool]:
    """What the rules allow, the last one counting: (type, major, minor) to access; and whether it is everything."""
    allowed: dict[_Key, str] = {}
    is_all = False
    for rule in rules:
        kinds = ("b", "c") if rule.type == "a" else (rule.type,)
        if rule.type == "a" and rule.major < 0 and rule.minor < 0 and set(rule.access) == set("rwm"):
            allowed, is_all = {}, rule.allow
            continue
        for kind in kinds:
            key = (kind, rule.major, rule.minor)
            if rule.allow and (rule.major >= 0 or rule.minor < 0):
                letters = set(allowed.get(key, "") + rule.access)
                allowed[key] = "".join(letter for letter in "rwm" if letter in letters)
            elif rule.allow and generous:
                # One minor number of every driver: systemd has no words for that but all of them.
                allowed[(kind, -1, -1)] = "rwm"
            elif not rule.allow:
                allowed = _without(allowed, key, rule.access, generous=generous)
                is_all = is_all and generous
    return allowed, is_all


def _without(allowed: dict[_Key, str], denied: _Key, access: str, *, generous: bool) -> dict[_Key, str]:
    kept = {}
    for key, letters in allowed.items():
        covered = _covers(denied, key)
        touched = covered or (not generous and _covers(key, denied))
        left = "".join(letter for letter in letters if not touched or letter not in access)
        if left:
            kept[key] = left
    return kept


def _covers(wide: _Key, narrow: _Key) -> bool:
    return wide[0] == narrow[0] and all(
        mine in (-1, its) for mine, its in zip(wide[1:], narrow[1:], strict=True)
    )


def _device(key: _Key) -> str:
    """A device in systemd's words; drivers by number are known since its version 240."""
    kind, major, minor = key
    name = "block" if kind == "b" else "char"
    if major < 0:
        return f"{name}-*"
    return f"{name}-{major}" if minor < 0 else f"/dev/{name}/{major}:{minor}"
