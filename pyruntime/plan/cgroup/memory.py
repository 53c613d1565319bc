"""`linux.resources.memory`.  Source: config-linux.md, "Memory"; kernel, cgroup-v1/memory.rst, cgroup-v2.rst."""

from pyruntime.base.errors import SpecError
from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile, WriteMemoryLimits
from pyruntime.spec.linux import Memory, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyruntime.plan.cgroup import CgroupTarget

_ORIGIN = "/linux/resources/memory"


def plan_memory(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    """Units: bytes on both sides; -1 is unlimited.  `swap` is memory plus swap in config.json.

    Raises:
        SpecError: `swap` without `limit` under v2, or smaller than it; swappiness over 100.
    """
    memory = resources.memory
    if memory is None or memory == Memory():
        return
    if memory.swap is not None and memory.limit is not None and 0 <= memory.swap < memory.limit:
        hint = "swap counts memory plus swap: make it at least as large as limit, or -1"
        raise SpecError(
            "memory swap limit is smaller than the memory limit", where=f"{_ORIGIN}/swap", hint=hint
        )
    directory = target.directory("memory", _ORIGIN)
    yield from _plan_v2(memory, directory) if target.unified else _plan_v1(memory, directory)


def _plan_v1(memory: Memory, directory: str) -> "Iterator[CgroupOperation]":
    if memory.swap is not None and memory.limit is not None:
        yield WriteMemoryLimits(
            origin=f"{_ORIGIN}/limit", directory=directory, limit=str(memory.limit), swap=str(memory.swap)
        )
    elif memory.limit is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/limit", path=f"{directory}/memory.limit_in_bytes", value=str(memory.limit)
        )
    elif memory.swap is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/swap", path=f"{directory}/memory.memsw.limit_in_bytes", value=str(memory.swap)
        )
    if memory.reservation is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/reservation",
            path=f"{directory}/memory.soft_limit_in_bytes",
            value=str(memory.reservation),
        )
    # kernel is deprecated: no kernel since 5.16 has that limit, and both runc and crun ignore it there.
    if memory.kernel_tcp is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/kernelTCP",
            path=f"{directory}/memory.kmem.tcp.limit_in_bytes",
            value=str(memory.kernel_tcp),
        )
    if memory.swappiness is not None:
        if not 0 <= memory.swappiness <= 100:
            hint = "write a number from 0 to 100"
            raise SpecError("invalid memory swappiness", where=f"{_ORIGIN}/swappiness", hint=hint)
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/swappiness",
            path=f"{directory}/memory.swappiness",
            value=str(memory.swappiness),
        )
    if memory.disable_oom_killer:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/disableOOMKiller", path=f"{directory}/memory.oom_control", value="1"
        )


def _plan_v2(memory: Memory, directory: str) -> "Iterator[CgroupOperation]":
    swap = swap_alone(memory)
    if swap is not None:
        # A kernel without swap accounting has no such file; that matters only if swap is to be limited.
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/swap",
            path=f"{directory}/memory.swap.max",
            value=swap,
            missing_ok=swap in ("max", "0"),
        )
    if memory.limit is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/limit", path=f"{directory}/memory.max", value=_or_max(memory.limit)
        )
    if memory.reservation is not None:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/reservation", path=f"{directory}/memory.low", value=_or_max(memory.reservation)
        )


def swap_alone(memory: Memory) -> str | None:
    """memory.swap.max counts swap alone, so the limit is subtracted."""
    if memory.swap is None or memory.swap == 0:
        return "max" if memory.limit == -1 else None
    if memory.swap == -1:
        return "max"
    if memory.limit is None or memory.limit == -1:
        hint = "add memory.limit: swap in config.json counts memory plus swap"
        raise SpecError("swap limit without a memory limit", where=f"{_ORIGIN}/swap", hint=hint)
    return str(memory.swap - memory.limit)


def _or_max(value: int) -> str:
    return "max" if value == -1 else str(value)
