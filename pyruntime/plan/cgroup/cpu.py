"""`linux.resources.cpu`.  Source: config-linux.md, "CPU"; kernel, sched-bwc.rst, cgroup-v2.rst, cpusets.rst."""

from pyruntime.base.errors import SpecError
from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile
from pyruntime.spec.linux import Cpu, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyruntime.plan.cgroup import CgroupTarget

_ORIGIN = "/linux/resources/cpu"


def plan_cpu(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    """Units: microseconds; a quota of -1 or 0 under v2 is unlimited."""
    cpu = resources.cpu
    if cpu is None or cpu.replace(cpus="", mems="") == Cpu():
        return
    directory = target.directory("cpu", _ORIGIN)
    yield from _plan_v2(cpu, directory) if target.unified else _plan_v1(cpu, directory)


def _plan_v1(cpu: Cpu, directory: str) -> "Iterator[CgroupOperation]":
    # The period first: the kernel checks the quota against it.
    entries = (
        ("shares", "cpu.shares", cpu.shares),
        ("realtimePeriod", "cpu.rt_period_us", cpu.realtime_period),
        ("realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime),
        ("period", "cpu.cfs_period_us", cpu.period),
        ("quota", "cpu.cfs_quota_us", cpu.quota),
        ("burst", "cpu.cfs_burst_us", cpu.burst),
        ("idle", "cpu.idle", cpu.idle),
    )
    for name, file, value in entries:
        # Zero means "not set" for all of these but idle, as with every caller of runc.
        if value is None or (value == 0 and name not in ("idle", "burst")):
            continue
        yield WriteCgroupFile(origin=f"{_ORIGIN}/{name}", path=f"{directory}/{file}", value=str(value))


def _plan_v2(cpu: Cpu, directory: str) -> "Iterator[CgroupOperation]":
    if cpu.realtime_period or cpu.realtime_runtime:
        hint = "cgroup v2 has no realtime limits: leave realtimeRuntime and realtimePeriod out"
        raise SpecError(
            "realtime CPU limits are not supported", where=f"{_ORIGIN}/realtimeRuntime", hint=hint
        )
    if cpu.idle is not None:
        yield WriteCgroupFile(origin=f"{_ORIGIN}/idle", path=f"{directory}/cpu.idle", value=str(cpu.idle))
    if cpu.shares and cpu.idle != 1:
        weight = str(weight_of_shares(cpu.shares))
        yield WriteCgroupFile(origin=f"{_ORIGIN}/shares", path=f"{directory}/cpu.weight", value=weight)
    if cpu.quota is not None or cpu.period:
        quota = "max" if cpu.quota is None or cpu.quota <= 0 else str(cpu.quota)
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/quota", path=f"{directory}/cpu.max", value=f"{quota} {cpu.period or 100000}"
        )
    if cpu.burst is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/burst", path=f"{directory}/cpu.max.burst", value=str(cpu.burst)
        )


def weight_of_shares(shares: int) -> int:
    """v1 shares (2 to 262144) as a v2 weight (1 to 10000); 1024, the default, becomes 100, the default.

    The curve through these three points that runc 1.3.2 and crun 1.23 settled on.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exact = _log2(shares)
    power = (exact * exact + 125 * exact) / 612 - 7 / 34
    result = 10**power
    return int(result) if result == int(result) else int(result) + 1


def _log2(value: int) -> float:
    """The binary logarithm, without the import of math: integer part by shifting, the rest by squaring."""
    whole = value.bit_length() - 1
    rest, fraction, bit = value / (1 << whole), 0.0, 0.5
    for _ in range(52):
        rest *= rest
        if rest >= 2:
            rest /= 2
            fraction += bit
        bit /= 2
    return whole + fraction


def plan_cpuset(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    cpu = resources.cpu
    if cpu is None:
        return
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if value:
            directory = target.directory("cpuset", f"{_ORIGIN}/{name}")
            yield WriteCgroupFile(origin=f"{_ORIGIN}/{name}", path=f"{directory}/cpuset.{name}", value=value)
