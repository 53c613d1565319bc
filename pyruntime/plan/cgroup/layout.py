"""Which cgroup hierarchies this host has mounted: a fact, read by `pyruntime.host.cgroups`."""

from pyruntime.base.record import Record


class Hierarchy(Record):
    """One mounted hierarchy.

    `controllers` of v1 may be a name ("name=systemd"); those of v2 are what its root offers.
    `mount_root` is what of the hierarchy is mounted, `own_path` the path of the runtime in it.  `options` are those
    that v2 as a whole was mounted with.
    """

    version: int
    controllers: tuple[str, ...]
    mount_point: str
    mount_root: str = "/"
    own_path: str = "/"
    options: tuple[str, ...] = ()


class CgroupLayout(Record):
    """All hierarchies; `mode` is v1, hybrid (v1 controllers and a v2 hierarchy), v2 or none.

    `systemd_path` is the cgroup in which the systemd that is asked for units has these; "" is the root.
    """

    mode: str = "none"
    hierarchies: tuple[Hierarchy, ...] = ()
    systemd_path: str = ""
