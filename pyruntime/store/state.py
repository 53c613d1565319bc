"""What is remembered of a container between two commands."""

from pyruntime.base.record import Record

CLONE_NEWPID = 0x20000000


class ContainerState(Record):
    """One container.

    `created` is RFC 3339 in UTC with nanoseconds; `pid_start_time` is in clock ticks since boot;
    a `pid` of 0 says that there is no init: not yet as long as `creating` is true.
    `namespaces` holds the CLONE_NEW flags of the namespaces that the runtime is not in itself.
    """

    oci_version: str
    id: str
    bundle: str
    rootfs: str = ""
    created: str = ""
    creating: bool = False
    pid: int = 0
    pid_start_time: int = 0
    owner_uid: int = 0
    cgroup_directories: tuple[str, ...] = ()
    cgroup_paths: dict[str, str] = {}
    # The unit that holds the cgroups, of the user's own systemd or of the system's; "" without one.
    systemd_unit: str = ""
    systemd_of_user: bool = False
    annotations: dict[str, str] = {}
    namespaces: int = 0
    # Without a mount namespace of its own: how many mounts were on the rootfs before it; else -1.
    rootfs_mounts: int = -1
    # Directories of resctrl: those that every process of the container joins, and those that go with it.
    resctrl_joined: tuple[str, ...] = ()
    resctrl_removed: tuple[str, ...] = ()
    terminal: bool = False
    has_poststart: bool = False
    has_poststop: bool = False

    @property
    def has_own_pid_namespace(self) -> bool:
        """Whether the kernel kills all processes of the container when its init dies."""
        return bool(self.namespaces & CLONE_NEWPID)
