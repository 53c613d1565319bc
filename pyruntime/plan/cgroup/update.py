"""New limits for a container that runs: what `update` writes.  Pure; the values of now come with the call."""

from pyruntime.base.errors import SpecError, StepError
from pyruntime.base.record import Record
from pyruntime.plan.cgroup import CgroupTarget, plan_limits
from pyruntime.plan.cgroup.operations import CgroupOperation, SetUnitProperties
from pyruntime.spec.linux import Cpu, Memory, Resources


class CurrentLimits(Record):
    """What the cgroup says now, as its files have it; "" for a file that is not there.

    `cpu_max`: "QUOTA PERIOD", of v1 put together.  `memory_limit`, `memory_usage`: bytes or "max".
    """

    cpu_max: str = ""
    memory_limit: str = ""
    memory_usage: str = ""


def plan_update(
    resources: Resources,
    paths: dict[str, str],
    current: CurrentLimits,
    *,
    unit: str = "",
    of_user: bool = False,
) -> tuple[CgroupOperation, ...]:
    """The writes that change the limits named in `resources` and no other; 0 stands for "as it is".

    `paths`: controller ("" for v2) to directory.  `unit`: the systemd unit that has to know the limits as well.

    Raises:
        SpecError: a limit needs a controller that the container does not have, or makes no sense.
        StepError: the memory limit is below what is in use, and `checkBeforeUpdate` asks to refuse that.
    """
    unified = set(paths) == {""}
    whole_cpu = _cpu(resources.cpu, current)
    changed = resources.replace(
        devices=(),
        cpu=whole_cpu if unified else resources.cpu,
        memory=_memory(resources.memory, current, unified=unified),
    )
    if resources.pids is not None and resources.pids.limit == 0:
        changed = changed.replace(pids=None)
    writes = tuple(plan_limits(changed, CgroupTarget(unified, paths)))
    if not unit:
        return writes
    from pyruntime.plan.cgroup.unit_limits import unit_limits

    known = unit_limits(changed.replace(cpu=whole_cpu), unified=unified)
    if not known:
        return writes
    change = SetUnitProperties(origin="/linux/resources", unit=unit, of_user=of_user, properties=known)
    # The kernel judges first, because its files can be brought back; systemd then rounds what it writes into them.
    return (*writes, change, *writes)


def _cpu(cpu: Cpu | None, current: CurrentLimits) -> Cpu | None:
    """Quota and period belong together, and cpu.max holds both in one line: what is not named keeps its value."""
    if cpu is None or not (cpu.quota or cpu.period):
        return cpu if cpu is None else cpu.replace(quota=None)
    quota, _, period = current.cpu_max.partition(" ")
    return cpu.replace(
        quota=cpu.quota or (int(quota) if quota.isdigit() else -1),
        period=cpu.period or (int(period) if period.isdigit() else None),
    )


def _memory(memory: Memory | None, current: CurrentLimits, *, unified: bool) -> Memory | None:
    if memory is None:
        return None
    limit, swap = memory.limit or None, memory.swap or None
    if limit == -1 and swap is None:
        # Without a limit of memory one of memory and swap makes no sense: runc lifts both.
        swap = -1
    if unified and swap is not None and swap > 0 and limit is None and current.memory_limit.isdigit():
        if swap < int(current.memory_limit):
            hint = "swap counts memory plus swap: make it at least as large as the memory limit, or -1"
            raise SpecError(
                "memory swap limit is smaller than the memory limit",
                where="/linux/resources/memory/swap",
                hint=hint,
            )
        limit = int(current.memory_limit)
    if memory.check_before_update and limit is not None and limit > 0 and current.memory_usage.isdigit():
        usage = int(current.memory_usage)
        if usage > limit:
            raise StepError(
                f"rejecting memory limit {limit} due to usage {usage} (larger)",
                where="/linux/resources/memory/limit",
                hint="choose a larger limit, or leave checkBeforeUpdate out",
            )
    return memory.replace(limit=limit, swap=swap, reservation=memory.reservation or None)
