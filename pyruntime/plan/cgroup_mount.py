"""The mount of type cgroup: what a container sees of its own cgroups."""

from pyruntime.plan.mount_options import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_RELATIME, MountOptions
from pyruntime.plan.operations import MOUNT_SLOT, Bind, MakeSymlink, Mount, Operation, RemountFlags
from pyruntime.plan.view import ContainerView
from pyruntime.spec.config import Mount as MountEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC


def plan_cgroup_mount(
    view: ContainerView, entry: MountEntry, options: MountOptions, path: str, origin: str
) -> "Iterator[Operation]":
    """Mount the cgroup hierarchies on `path`, as runc does.

    Under v2 that is cgroup2 itself, or, where the kernel refuses that, a bind of the container's own
    cgroup, or of all cgroups if it has none.  Under v1 it is a tmpfs with one mount for each controller
    and links for merged names; without a cgroup namespace they are binds of the container's own cgroups,
    which must not be writable by accident (CVE-2023-25809: read-only unless the configuration says otherwise).
    What a container without a cgroup of its own sees are the cgroups of others: read-only in any case.
    The tmpfs itself stays writable even then, as runc and crun leave it: it is the container's own, and a
    systemd inside adds its hierarchies there.
    """
    if view.cgroup_layout.mode == "v2" or entry.type == "cgroup2":
        yield _plan_unified(view, options, path, origin)
        return

    read_only = options.flags & MS_RDONLY
    yield Mount(origin=origin, type="tmpfs", source="tmpfs", path=path, flags=_SAFE, data="mode=755")
    for hierarchy in view.cgroup_layout.hierarchies:
        if hierarchy.version != 1 or not hierarchy.controllers:
            continue
        name = hierarchy.mount_point.rsplit("/", 1)[-1]
        own = view.cgroup_paths.get(hierarchy.controllers[0], "")
        if not own:
            # Without a cgroup of its own it sits among others, whose limits are not its to change.
            own, read_only = hierarchy.mount_point, MS_RDONLY
        if view.has_namespace("cgroup"):
            yield Mount(
                origin=origin,
                type="cgroup",
                source="cgroup",
                path=f"{path}/{name}",
                flags=_SAFE | MS_RELATIME | read_only,
                data=",".join(hierarchy.controllers),
                fallback_host_path=own,
            )
        else:
            yield Bind(origin=origin, host_path=own, path=f"{path}/{name}", recursive=0)
            yield RemountFlags(origin=origin, path=f"{path}/{name}", flags=_SAFE | read_only, slot=MOUNT_SLOT)
        merged = name.split(",")
        if len(merged) > 1:
            for part in merged:
                yield MakeSymlink(origin=origin, target=name, path=f"{path}/{part}")


def _plan_unified(view: ContainerView, options: MountOptions, path: str, origin: str) -> Mount:
    own = view.cgroup_paths.get("", "")
    among_others = not own and not view.has_namespace("cgroup")
    return Mount(
        origin=origin,
        type="cgroup2",
        source="cgroup",
        path=path,
        flags=options.flags | (MS_RDONLY if among_others else 0),
        data=options.data or _options_of_host(view),
        fallback_host_path=own or _unified_mount_point(view),
    )


def _unified_mount_point(view: ContainerView) -> str:
    # Without rights over cgroups the container has none of its own; it sees the host's, which it cannot write to.
    host = (hierarchy.mount_point for hierarchy in view.cgroup_layout.hierarchies if hierarchy.version == 2)
    return next(host, "")


def _options_of_host(view: ContainerView) -> str:
    """From the host's cgroup namespace a mount changes the options of the hierarchy as a whole: the host's again."""
    if view.has_namespace("cgroup"):
        return ""
    host = (hierarchy.options for hierarchy in view.cgroup_layout.hierarchies if hierarchy.version == 2)
    return ",".join(next(host, ()))
