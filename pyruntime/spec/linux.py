"""config.json as typed records: the section `linux`.  Source: runtime-spec 1.3, config-linux.md.

Absent numbers are None: in resources zero and absent differ.
"""

from pyruntime.base.record import Record


class IdMapping(Record):
    """Source: config-linux.md, "User namespace mappings"."""

    container_id: int
    host_id: int
    size: int


class Namespace(Record):
    """Source: config-linux.md, "Namespaces"."""

    type: str
    path: str = ""


class Device(Record):
    """Source: config-linux.md, "Devices"."""

    type: str
    path: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class NetDevice(Record):
    """Source: config-linux.md, "Network Devices"."""

    name: str = ""


class DeviceRule(Record):
    """Source: config-linux.md, "Allowed Device list"."""

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(Record):
    """Source: config-linux.md, "Memory".  Units: bytes; -1 is unlimited."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Record):
    """Source: config-linux.md, "CPU".  Units of the times: microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(Record):
    """Source: config-linux.md, "PIDs"."""

    limit: int | None = None


class WeightDevice(Record):
    """Source: config-linux.md, "Block IO"."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Record):
    """Source: config-linux.md, "Block IO".  Units of rate: bytes or operations a second."""

    major: int
    minor: int
    rate: int | None = None


class BlockIo(Record):
    """Source: config-linux.md, "Block IO"."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """Source: config-linux.md, "Huge page limits".  Unit of limit: bytes."""

    page_size: str
    limit: int


class InterfacePriority(Record):
    """Source: config-linux.md, "Network"."""

    name: str
    priority: int


class Network(Record):
    """Source: config-linux.md, "Network"."""

    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Record):
    """Source: config-linux.md, "RDMA"."""

    hca_handles: int | None = None
    hca_objects: int | None = None


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

    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompSyscall(Record):
    """Source: config-linux.md, "Seccomp": one rule."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArgument, ...] = ()


class Seccomp(Record):
    """Source: config-linux.md, "Seccomp"."""

    default_action: str
    default_errno_ret: int | None = None
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

    secs: int | None = None
    nanosecs: int | None = None


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
