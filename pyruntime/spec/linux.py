"""config.json as typed records: the section `linux`.  Source: runtime-spec 1.3, config-linux.md.

Absent numbers are None: in resources zero and absent differ.
"""

from pyruntime.base.integers import Int64, Uint16, Uint32, Uint64
from pyruntime.base.record import Record


class IdMapping(Record):
    """Source: config-linux.md, "User namespace mappings"."""

    container_id: Uint32
    host_id: Uint32
    size: Uint32


class Namespace(Record):
    """Source: config-linux.md, "Namespaces"."""

    type: str
    path: str = ""


class Device(Record):
    """Source: config-linux.md, "Devices".

    The schema bounds fileMode to the permissions; engines have long written the whole of st_mode there.
    """

    type: str
    path: str
    major: Int64 | None = None
    minor: Int64 | None = None
    file_mode: Uint32 | None = None
    uid: Uint32 | None = None
    gid: Uint32 | None = None


class NetDevice(Record):
    """Source: config-linux.md, "Network Devices"."""

    name: str = ""


class DeviceRule(Record):
    """Source: config-linux.md, "Allowed Device list"."""

    allow: bool
    type: str = ""
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str = ""


class Memory(Record):
    """Source: config-linux.md, "Memory".  Units: bytes; -1 is unlimited."""

    limit: Int64 | None = None
    reservation: Int64 | None = None
    swap: Int64 | None = None
    kernel: Int64 | None = None
    kernel_tcp: Int64 | None = None
    swappiness: Uint64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Record):
    """Source: config-linux.md, "CPU".  Units of the times: microseconds."""

    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str = ""
    mems: str = ""
    idle: Int64 | None = None


class Pids(Record):
    """Source: config-linux.md, "PIDs"."""

    limit: Int64 | None = None


class WeightDevice(Record):
    """Source: config-linux.md, "Block IO"."""

    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None


class ThrottleDevice(Record):
    """Source: config-linux.md, "Block IO".  Units of rate: bytes or operations a second."""

    major: Int64
    minor: Int64
    rate: Uint64 | None = None


class BlockIo(Record):
    """Source: config-linux.md, "Block IO"."""

    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """Source: config-linux.md, "Huge page limits".  Unit of limit: bytes."""

    page_size: str
    limit: Uint64


class InterfacePriority(Record):
    """Source: config-linux.md, "Network"."""

    name: str
    priority: Uint32


class Network(Record):
    """Source: config-linux.md, "Network"."""

    class_id: Uint32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Record):
    """Source: config-linux.md, "RDMA"."""

    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


class Resources(Record):
    """Source: config-linux.md, "Control groups"."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}


class SeccompArgument(Record):
    """Source: config-linux.md, "Seccomp": one comparison of a system call's argument."""

    index: Uint32
    value: Uint64
    op: str
    value_two: Uint64 = 0


class SeccompSyscall(Record):
    """Source: config-linux.md, "Seccomp": one rule."""

    names: tuple[str, ...]
    action: str
    errno_ret: Uint32 | None = None
    args: tuple[SeccompArgument, ...] = ()


class Seccomp(Record):
    """Source: config-linux.md, "Seccomp"."""

    default_action: str
    default_errno_ret: Uint32 | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SeccompSyscall, ...] = ()


class IntelRdt(Record):
    """Source: config-linux.md, "IntelRdt"."""

    clos_id: str = ""
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class MemoryPolicy(Record):
    """Source: config-linux.md, "Memory policy"."""

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class Personality(Record):
    """Source: config-linux.md, "Personality"."""

    domain: str
    flags: tuple[str, ...] = ()


class TimeOffset(Record):
    """Source: config-linux.md, "Offset for Time Namespace"."""

    secs: Int64 | None = None
    nanosecs: Uint32 | None = None


class Linux(Record):
    """Source: config-linux.md."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: dict[str, TimeOffset] = {}
    devices: tuple[Device, ...] = ()
    net_devices: dict[str, NetDevice] = {}
    cgroups_path: str = ""
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    sysctl: dict[str, str] = {}
    seccomp: Seccomp | None = None
    resources: Resources | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None

    def namespace(self, kind: str) -> Namespace | None:
        """The entry for a type of namespace, new or to be joined; None where the container shares the runtime's."""
        for entry in self.namespaces:
            if entry.type == kind:
                return entry
        return None
