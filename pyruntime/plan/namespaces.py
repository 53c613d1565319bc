"""Into the namespaces: which are joined, which are made, and in which order.

A user namespace and a time namespace have to be there before the process that lives in them is cloned; a pid namespace
is made by that clone itself, the others before it where nothing speaks against that.
Source: config-linux.md, "Namespaces"; namespaces(7).
"""

from pyruntime.plan.facts import HostFacts
from pyruntime.plan.operations import (
    MAPS_WANTED,
    MAPS_WRITTEN,
    Await,
    BecomeRoot,
    Clone,
    JoinNamespace,
    Operation,
    RaiseLoopback,
    SetDumpable,
    Tell,
    Unshare,
    WriteFile,
)
from pyruntime.plan.view import NAMESPACE_FLAGS, ContainerView

_USER = NAMESPACE_FLAGS["user"]
_TIME = NAMESPACE_FLAGS["time"]
_CGROUP = NAMESPACE_FLAGS["cgroup"]
_MOUNT = NAMESPACE_FLAGS["mount"]
_NETWORK = NAMESPACE_FLAGS["network"]
_EARLY = _NETWORK | _MOUNT | NAMESPACE_FLAGS["uts"] | NAMESPACE_FLAGS["ipc"]
_CLONED = _EARLY | NAMESPACE_FLAGS["pid"]


def sees_the_host(view: ContainerView) -> bool:
    """Whether the container's init, when it is cloned, has the host's paths and the right to write there."""
    return not view.created & (_USER | _TIME) and not {_USER, _MOUNT, _CGROUP} & view.joined.keys()


def early_namespaces(created: int, joined: "dict[int, tuple[str, str]]", facts: HostFacts) -> int:
    """The flags of those that can be made as soon as it is known that they are wanted, without regard to anything else.

    Not where the container's user namespace, made or joined, is to own them.
    """
    return 0 if created & _USER or _USER in joined or facts.rootless else created & _EARLY


def plan_early_namespaces(flags: int) -> list[Operation]:
    """Make these, and what can be done in them at once."""
    operations: list[Operation] = []
    if flags:
        operations.append(Unshare(origin="/linux/namespaces", flags=flags))
    if flags & _NETWORK:
        operations.append(RaiseLoopback(origin="/linux/namespaces"))
    return operations


def plan_namespaces(view: ContainerView, *, cgroup_slot: int) -> list[Operation]:
    """From the host's namespaces to the first step of the container's init.

    `cgroup_slot` holds the v2 cgroup to be cloned into, or is -1.
    """
    operations: list[Operation] = []
    leaves_host = bool(view.created & (_USER | _TIME)) or _USER in view.joined
    if cgroup_slot >= 0 and (leaves_host or _CGROUP in view.joined):
        # Once in another user namespace this process has no right to the host's cgroups any more, and where cgroup
        # namespaces are boundaries of delegation (nsdelegate) one that was joined has none to cgroups outside of it.
        operations.append(Clone(flags=0, cgroup_slot=cgroup_slot))
        cgroup_slot = -1
    operations += _plan_joins(view)
    if view.created & _USER:
        operations += [
            Unshare(origin="/linux/namespaces", flags=_USER),
            # /proc/PID/uid_map belongs to root as long as the process may not be inspected.
            SetDumpable(dumpable=1),
            Tell(rendezvous=MAPS_WANTED),
            Await(rendezvous=MAPS_WRITTEN),
        ]
    if view.created & _USER or _USER in view.joined:
        operations.append(BecomeRoot())
    if view.created & _TIME:
        operations += _plan_time(view)
    operations.append(SetDumpable(dumpable=0))
    flags = view.created & _CLONED & ~early_namespaces(view.created, view.joined, view.facts)
    operations.append(Clone(origin="/linux/namespaces", flags=flags, cgroup_slot=cgroup_slot))
    return operations


def plan_cgroup_namespace(view: ContainerView) -> list[Operation]:
    """The root of a cgroup namespace is where the process is when it makes it: by now in its cgroups."""
    return [Unshare(origin="/linux/namespaces", flags=_CGROUP)] if view.created & _CGROUP else []


def _plan_joins(view: ContainerView) -> list[Operation]:
    """Root first joins what its own user namespace owns; without privilege the user namespace gives the right.

    The mount namespace comes last: host paths of other namespaces would not be found after it.
    """

    def order(flag: int) -> int:
        if flag == _MOUNT:
            return 3
        if flag == _USER:
            return 0 if view.facts.rootless else 2
        return 1

    return [
        JoinNamespace(origin=view.joined[flag][1], host_path=view.joined[flag][0], flag=flag)
        for flag in sorted(view.joined, key=order)
    ]


def _plan_time(view: ContainerView) -> list[Operation]:
    operations: list[Operation] = [Unshare(origin="/linux/namespaces", flags=_TIME)]
    offsets = view.config.linux.time_offsets if view.config.linux is not None else {}
    lines = "".join(
        f"{clock} {offset.secs or 0} {offset.nanosecs or 0}\n" for clock, offset in offsets.items()
    )
    if lines:
        # The change of user has made it uninspectable, and its files in /proc root's of the host.
        operations.append(SetDumpable(dumpable=1))
        operations.append(
            WriteFile(origin="/linux/timeOffsets", host_path="/proc/self/timens_offsets", data=lines)
        )
    return operations
