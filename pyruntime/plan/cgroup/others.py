"""The small controllers: pids, hugetlb, network, rdma; and `unified`.  Source: config-linux.md; cgroup-v2.rst."""

from pyruntime.base.decode import escape
from pyruntime.base.errors import SpecError
from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile
from pyruntime.spec.linux import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyruntime.plan.cgroup import CgroupTarget

_ORIGIN = "/linux/resources"


def plan_pids(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    """-1 is unlimited.  0 is written as 1, as by runc: the container's own process has to fit."""
    limit = resources.pids.limit if resources.pids is not None else None
    if limit is None:
        return
    directory = target.directory("pids", f"{_ORIGIN}/pids")
    value = "max" if limit < 0 else str(max(limit, 1))
    yield WriteCgroupFile(origin=f"{_ORIGIN}/pids/limit", path=f"{directory}/pids.max", value=value)


def plan_hugetlb(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    """Units: bytes.  The reservation limit is set as well where the kernel has one."""
    for index, entry in enumerate(resources.hugepage_limits):
        origin = f"{_ORIGIN}/hugepageLimits/{index}"
        directory = target.directory("hugetlb", origin)
        if "/" in entry.page_size:
            raise SpecError(
                "invalid huge page size", where=f"{origin}/pageSize", hint="write it as 2MB or 1GB"
            )
        suffix = "max" if target.unified else "limit_in_bytes"
        base = f"{directory}/hugetlb.{entry.page_size}"
        yield WriteCgroupFile(origin=origin, path=f"{base}.{suffix}", value=str(entry.limit))
        yield WriteCgroupFile(
            origin=origin, path=f"{base}.rsvd.{suffix}", value=str(entry.limit), missing_ok=True
        )


def plan_network(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    network = resources.network
    if network is None:
        return
    if target.unified and (network.class_id is not None or network.priorities):
        name = "classID" if network.class_id is not None else "priorities"
        hint = "cgroup v2 has no such controller: mark packets by cgroup with nftables instead"
        where = f"{_ORIGIN}/network/{name}"
        raise SpecError("network class and priorities need cgroup v1", where=where, hint=hint)
    if network.class_id is not None:
        origin = f"{_ORIGIN}/network/classID"
        path = f"{target.directory('net_cls', origin)}/net_cls.classid"
        yield WriteCgroupFile(origin=origin, path=path, value=str(network.class_id))
    for index, entry in enumerate(network.priorities):
        origin = f"{_ORIGIN}/network/priorities/{index}"
        path = f"{target.directory('net_prio', origin)}/net_prio.ifpriomap"
        yield WriteCgroupFile(origin=origin, path=path, value=f"{entry.name} {entry.priority}")


def plan_rdma(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    for device, entry in resources.rdma.items():
        origin = f"{_ORIGIN}/rdma/{escape(device)}"
        handles = f" hca_handle={entry.hca_handles}" if entry.hca_handles is not None else ""
        objects = f" hca_object={entry.hca_objects}" if entry.hca_objects is not None else ""
        path = f"{target.directory('rdma', origin)}/rdma.max"
        yield WriteCgroupFile(origin=origin, path=path, value=f"{device}{handles}{objects}")


def plan_unified(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    """`unified` overrides everything else, so it comes last; lines of a value are written one by one.

    Raises:
        SpecError: the host has no unified hierarchy, or a key is not the name of a file.
    """
    for key, value in resources.unified.items():
        origin = f"{_ORIGIN}/unified/{escape(key)}"
        if not target.unified:
            hint = "use linux.resources.memory, cpu ... or boot the host with cgroup v2"
            raise SpecError("unified resources need cgroup v2", where=origin, hint=hint)
        if "/" in key or key in ("", ".", ".."):
            raise SpecError(f"unified key {key!r} must be a file name", where=origin, hint="remove the path")
        directory = target.directory(key.partition(".")[0], origin)
        for line in value.split("\n"):
            if line or value == "":
                yield WriteCgroupFile(origin=origin, path=f"{directory}/{key}", value=line)
