"""Checkpoint and restore: what of a container CRIU has to be told about, and how CRIU is started to restore one.

CRIU sees mounts whose source is outside of the container and cannot know where to find it again.  The plan of the
container says which these are: they are what its operations bind.
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.plan.launch import CGROUP_SLOT, plan_cgroup_entry
from pyruntime.plan.operations import (
    HOOKS_WANTED,
    Await,
    Bind,
    BindDevice,
    BindHost,
    BindTree,
    Clone,
    CloseInherited,
    Execute,
    FindExecutable,
    IdmapTree,
    JoinCgroup,
    JoinNamespace,
    KeepDescriptor,
    MakeDirectory,
    MakeMappingNamespace,
    MaskPath,
    OpenTree,
    Operation,
    RaiseLoopback,
    SetHostPropagation,
    SetUmask,
    Tell,
    Unshare,
)
from pyruntime.plan.view import NAMESPACE_FLAGS

_MOUNT = NAMESPACE_FLAGS["mount"]
_NETWORK = NAMESPACE_FLAGS["network"]
_MS_SLAVE_REC = 1 << 19 | 0x4000


class Saved(Record):
    """What CRIU has to know of a container.

    `pid` is the init's, 0 where there is none yet; `rootfs` an absolute host path; `freezer` the cgroup that stops
    all of its processes, or "".
    """

    rootfs: str
    pid: int = 0
    freezer: str = ""
    annotations: dict[str, str] = {}


class CriuOptions(Record):
    """What the command line of checkpoint and restore says; the numbers are those of CRIU's protocol.

    `status_fd` -1: nobody wants to know.  `cgroups_mode` and `network_lock` None: CRIU's default.
    """

    image_path: str
    work_path: str = ""
    parent_path: str = ""
    leave_running: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    tcp_close: bool = False
    link_remap: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    lazy_pages: bool = False
    status_fd: int = -1
    page_server: tuple[str, ...] = ()
    file_locks: bool = False
    pre_dump: bool = False
    cgroups_mode: int | None = None
    network_lock: int | None = None
    auto_dedup: bool = False
    lsm_profile: str = ""
    lsm_mount_context: str = ""


def external_mounts(operations: tuple[Operation, ...]) -> tuple[tuple[str, str], ...]:
    """(path in the container, path on the host) of every mount whose source is outside of the container.

    Raises:
        SpecError: one of them has an id mapping, which CRIU would lose.
    """
    found: list[tuple[str, str]] = []
    for operation in operations:
        if isinstance(operation, BindTree):
            hint = "CRIU does not know idmapped mounts"
            raise SpecError("an idmapped mount cannot be restored", where=operation.origin, hint=hint)
        if isinstance(operation, (Bind, BindDevice)):
            found.append((operation.path, operation.host_path))
    return tuple(found)


def masked_paths(operations: tuple[Operation, ...]) -> tuple[str, ...]:
    """The paths that are hidden in the container, files and directories."""
    return tuple(operation.path for operation in operations if isinstance(operation, MaskPath))


def has_own_mounts(operations: tuple[Operation, ...]) -> bool:
    """Whether the container has a new mount namespace: CRIU restores no other."""
    return any(isinstance(operation, SetHostPropagation) for operation in operations)


def plan_mount_points(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The part of a container's plan that leaves mount points in its root, for a mount namespace that is thrown away.

    CRIU mounts, but makes no mount points; in a root that is fresh from an image they are missing.
    """
    prepare, elsewhere = (MakeMappingNamespace, OpenTree, IdmapTree), (Await, JoinCgroup, Unshare, Tell)
    begin = next(i for i, step in enumerate(operations) if isinstance(step, SetHostPropagation))
    end = next(
        i for i, step in enumerate(operations) if isinstance(step, Tell) and step.rendezvous == HOOKS_WANTED
    )
    directory = next((step for step in operations[end:] if isinstance(step, MakeDirectory)), None)
    return (
        CloseInherited(first=3),
        SetUmask(mask=0),
        *(step for step in operations[:begin] if isinstance(step, prepare)),
        Unshare(flags=_MOUNT),
        # The container's init joins its cgroups in their midst.
        *(step for step in operations[begin:end] if not isinstance(step, elsewhere)),
        *((directory,) if directory is not None else ()),
    )


def plan_criu_start(
    cgroup: CgroupPlan, program: str, environment: tuple[str, ...], *, rootfs: str, root: str, kept: range
) -> tuple[Operation, ...]:
    """CRIU in the container's cgroups, with the root filesystem bound on the directory `root`.

    CRIU wants a root that is a mount point with nothing over its parent.  It gets that in a mount namespace of its
    own, so that no mount is left on the host whatever happens.  `kept`: the descriptors that it gets, the first of
    which is its socket.
    """
    operations: list[Operation] = [CloseInherited(first=3)]
    operations += [KeepDescriptor(descriptor_fd=number) for number in kept]
    operations += plan_cgroup_entry(cgroup)
    if cgroup.clone_directory:
        operations.append(Clone(flags=0, cgroup_slot=CGROUP_SLOT))
    operations += [
        Unshare(flags=_MOUNT),
        SetHostPropagation(host_path="/", flags=_MS_SLAVE_REC),
        BindHost(origin="/root/path", host_path=rootfs, target_host_path=root),
        FindExecutable(name=program, search_path=""),
        Execute(arguments=(program, "swrk", str(kept[0])), environment=environment),
    ]
    return tuple(operations)


def plan_raise_loopback(pid: int) -> tuple[Operation, ...]:
    """The loopback device of a restored network namespace, which CRIU leaves empty."""
    return (
        CloseInherited(first=3),
        JoinNamespace(host_path=f"/proc/{pid}/ns/net", flag=_NETWORK),
        RaiseLoopback(),
    )
