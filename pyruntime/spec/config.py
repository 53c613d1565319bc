"""config.json as typed records: process, root, mounts, hooks.  Each property is declared here once.

Absent numbers and objects are None where that differs from zero.  Source: runtime-spec 1.3, config.md.
"""

from pyruntime.base.integers import Int32, Uint32, Uint64
from pyruntime.base.record import Record
from pyruntime.spec.linux import IdMapping, Linux


class ConsoleSize(Record):
    """Source: config.md, "process.consoleSize".  Units: characters."""

    height: Uint64
    width: Uint64


class User(Record):
    """Source: config.md, "POSIX-platform User".  Ids are those of the container's user namespace."""

    uid: Uint32 = 0
    gid: Uint32 = 0
    umask: Uint32 | None = None
    additional_gids: tuple[Uint32, ...] = ()


class Capabilities(Record):
    """Source: config.md, "process.capabilities"."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    """Source: config.md, "process.rlimits".  Units: as in getrlimit(2)."""

    type: str
    soft: Uint64
    hard: Uint64


class Scheduler(Record):
    """Source: config.md, "process.scheduler".  Units of the times: nanoseconds."""

    policy: str
    nice: Int32 | None = None
    priority: Int32 | None = None
    flags: tuple[str, ...] = ()
    runtime: Uint64 | None = None
    deadline: Uint64 | None = None
    period: Uint64 | None = None


class IoPriority(Record):
    """Source: config.md, "process.ioPriority"."""

    class_: str
    priority: Int32 | None = None


class ExecCpuAffinity(Record):
    """Source: config.md, "process.execCPUAffinity": CPU lists for `exec`, before and after it joins the cgroup."""

    initial: str = ""
    final: str = ""


class Process(Record):
    """Source: config.md, "Process"."""

    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: ExecCpuAffinity | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""


class Root(Record):
    """Source: config.md, "Root"."""

    path: str
    readonly: bool = False


class Mount(Record):
    """Source: config.md, "Mounts"."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Hook(Record):
    """Source: config.md, "POSIX-platform Hooks".  Unit of timeout: seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(Record):
    """Source: config.md, "POSIX-platform Hooks"."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Config(Record):
    """The document.  Source: config.md."""

    oci_version: str
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None
