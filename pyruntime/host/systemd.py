"""What can be known of systemd without asking it.  Source: org.freedesktop.systemd1(5); user@.service(5)."""

import os

from pyruntime.plan.cgroup.layout import CgroupLayout


def systemd_path(layout: CgroupLayout, *, of_user: bool) -> str:
    """The cgroup below which systemd keeps its slices; "" is the root.

    The system's is told by the cgroup of its own process, which differs from the root inside of containers.
    The user's is that of user@UID.service.
    """
    system = _cgroup_of(1).removesuffix("/init.scope").rstrip("/")
    if not of_user:
        return system
    user = host_user_id()
    service = f"/user@{user}.service"
    for hierarchy in layout.hierarchies:
        before, found, _ = f"{hierarchy.own_path}/".partition(f"{service}/")
        if hierarchy.version == 2 and found:
            return before + service
    return f"{system}/user.slice/user-{user}.slice{service}"


def host_user_id() -> int:
    """The user id of this process as the host sees it, also from inside a user namespace."""
    own = os.geteuid()
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            for line in file:
                inside, outside, count = map(int, line.split())
                if inside <= own < inside + count:
                    return outside + own - inside
    except OSError:
        pass
    return own


def _cgroup_of(pid: int) -> str:
    """The path of a process where systemd keeps track of it: cgroup v2, or the v1 hierarchy of its name."""
    found = {}
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                found[controllers] = path
    except OSError:
        return ""
    return found.get("name=systemd", found.get("", "")).partition("/..")[0]
