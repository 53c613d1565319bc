"""What the section `linux` of a config must obey beyond its form: one function a rule, the table at the end.

Source: runtime-spec 1.3, config-linux.md; runc's validation where the spec leaves room.
"""

from pyruntime.base.decode import escape
from pyruntime.base.errors import SpecError
from pyruntime.spec.config import Config
from pyruntime.spec.linux import IdMapping, Linux

NAMESPACE_TYPES = ("user", "pid", "network", "mount", "uts", "ipc", "cgroup", "time")
_PROPAGATIONS = (
    "",
    "shared",
    "slave",
    "private",
    "unbindable",
    "rshared",
    "rslave",
    "rprivate",
    "runbindable",
)
_IPC_SYSCTLS = (
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "shmall",
    "shmmax",
    "shmmni",
    "shm_rmid_forced",
)
_LARGEST_MAP = 340  # entries; user_namespaces(7)


def check_namespaces(config: Config) -> None:
    seen: set[str] = set()
    for index, namespace in enumerate(_linux(config).namespaces):
        where = f"/linux/namespaces/{index}"
        if namespace.type not in NAMESPACE_TYPES:
            hint = f"use one of {', '.join(NAMESPACE_TYPES)}"
            raise SpecError(f"unknown namespace type {namespace.type!r}", where=f"{where}/type", hint=hint)
        if namespace.type in seen:
            what = f"malformed spec file: duplicated ns {namespace.type!r}"
            raise SpecError(what, where=where, hint="keep one entry")
        if namespace.path and not namespace.path.startswith("/"):
            what = f"namespace path {namespace.path!r} is relative"
            hint = "start it with '/', as in /proc/1234/ns/net"
            raise SpecError(what, where=f"{where}/path", hint=hint)
        seen.add(namespace.type)


def check_user_namespace(config: Config) -> None:
    linux = _linux(config)
    namespace = linux.namespace("user")
    for name, table in (("uid", linux.uid_mappings), ("gid", linux.gid_mappings)):
        where = f"/linux/{name}Mappings"
        if namespace is None and table:
            hint = 'add {"type": "user"} to linux.namespaces'
            what = "user namespace mappings specified, but no user namespace"
            raise SpecError(what, where=where, hint=hint)
        if namespace is not None and not namespace.path and not table:
            hint = "add an entry with containerID, hostID and size"
            raise SpecError(f"user namespace without {name}Mappings", where=where, hint=hint)
        check_mappings(table, where)


def check_mappings(table: tuple[IdMapping, ...], where: str) -> None:
    """Check a table of id mappings, of a user namespace or of a mount.

    Raises:
        SpecError: an entry is empty or leaves the range of ids, two overlap, or there are too many.
    """
    if len(table) > _LARGEST_MAP:
        raise SpecError("too many id mappings", where=where, hint=f"the kernel takes at most {_LARGEST_MAP}")
    for index, entry in enumerate(table):
        if entry.size < 1 or max(entry.container_id, entry.host_id) + entry.size > 1 << 32:
            hint = "size must be at least 1, and the last id below 4294967296"
            raise SpecError("invalid id mapping", where=f"{where}/{index}", hint=hint)
        for earlier in table[:index]:
            for side in ("container_id", "host_id"):
                first, other = getattr(entry, side), getattr(earlier, side)
                if first < other + earlier.size and other < first + entry.size:
                    what = f"id mapping overlaps another one at {max(first, other)}"
                    hint = "each id may be mapped once on both sides"
                    raise SpecError(what, where=f"{where}/{index}", hint=hint)


def check_time(config: Config) -> None:
    offsets = _linux(config).time_offsets
    namespace = _linux(config).namespace("time")
    if offsets and (namespace is None or namespace.path):
        hint = 'add {"type": "time"} without a path to linux.namespaces'
        raise SpecError("timeOffsets need a new time namespace", where="/linux/timeOffsets", hint=hint)
    for clock, offset in offsets.items():
        where = f"/linux/timeOffsets/{escape(clock)}"
        if clock not in ("monotonic", "boottime"):
            raise SpecError(f"unknown clock {clock!r}", where=where, hint="use monotonic or boottime")
        if (offset.nanosecs or 0) > 999_999_999:
            what = f"{offset.nanosecs} nanoseconds are a second or more"
            raise SpecError(what, where=f"{where}/nanosecs", hint="use 0 to 999999999, and secs for the rest")


def check_paths(config: Config) -> None:
    linux = _linux(config)
    for name, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        if paths and linux.namespace("mount") is None:
            hint = 'add {"type": "mount"} to linux.namespaces'
            raise SpecError(f"{name} need a private mount namespace", where=f"/linux/{name}", hint=hint)
        for index, path in enumerate(paths):
            _check_absolute("path", path, f"/linux/{name}/{index}")
    for index, device in enumerate(linux.devices):
        _check_absolute("device path", device.path, f"/linux/devices/{index}/path")


def _check_absolute(subject: str, path: str, where: str) -> None:
    if not path.startswith("/"):
        hint = "start it with '/': it is looked up from the container's root"
        raise SpecError(f"{subject} {path!r} is relative", where=where, hint=hint)


def check_propagation(config: Config) -> None:
    linux = _linux(config)
    where = "/linux/rootfsPropagation"
    if linux.rootfs_propagation not in _PROPAGATIONS:
        hint = "use shared, slave, private or unbindable"
        raise SpecError(
            f"rootfsPropagation={linux.rootfs_propagation} is not supported", where=where, hint=hint
        )
    if linux.rootfs_propagation and linux.namespace("mount") is None:
        hint = 'add {"type": "mount"} to linux.namespaces'
        raise SpecError("rootfsPropagation needs a private mount namespace", where=where, hint=hint)


def check_sysctls(config: Config) -> None:
    """Only what a namespace of the container's own holds may be set: all else is the host's."""
    for key, value in _linux(config).sysctl.items():
        where = f"/linux/sysctl/{escape(key)}"
        parts = _sysctl_parts(key)
        if "\n" in value or any(part in ("", ".", "..") for part in parts):
            hint = "write one line, and a key below /proc/sys"
            raise SpecError(f"invalid sysctl {key!r}", where=where, hint=hint)
        if parts == ["kernel", "hostname"]:
            what = f'sysctl {key!r} is not allowed as it conflicts with the OCI "hostname" field'
            raise SpecError(what, where=where, hint="use hostname instead")
        needed = _sysctl_namespace(parts)
        if not needed or _linux(config).namespace(needed) is None:
            hint = f'add {{"type": "{needed}"}} to linux.namespaces' if needed else "set it on the host"
            raise SpecError(f"sysctl {key!r} is not in a separate kernel namespace", where=where, hint=hint)


def _sysctl_parts(key: str) -> list[str]:
    """The path below /proc/sys: of "." and "/" the first one seen separates, the other one is part of a name.

    ".." is therefore looked for in the result: "net.//.kernel" leaves the folder net as "net/../kernel" does.
    """
    dot, slash = key.find("."), key.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        return [part.replace("/", ".") for part in key.split(".")]
    return key.split("/")


def _sysctl_namespace(parts: list[str]) -> str:
    match parts:
        case ["net", _, *_]:
            return "network"
        case ["fs", "mqueue", _]:
            return "ipc"
        case ["kernel", "domainname"]:
            return "uts"
        case ["kernel", name] if name in _IPC_SYSCTLS:
            return "ipc"
        case ["user", _]:
            return "user"
        case _:
            return ""


def check_memory_policy(config: Config) -> None:
    """Source: config-linux.md, "Memory Policy"; set_mempolicy(2)."""
    policy = _linux(config).memory_policy
    if policy is None:
        return
    where = "/linux/memoryPolicy"
    if policy.nodes and policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        raise SpecError(f"{policy.mode} takes no nodes", where=f"{where}/nodes", hint="leave nodes out")
    if not policy.nodes and policy.mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        raise SpecError(f"{policy.mode} needs nodes", where=f"{where}/nodes", hint='add "nodes", as in "0-1"')
    if "MPOL_F_NUMA_BALANCING" in policy.flags and policy.mode != "MPOL_BIND":
        hint = "remove the flag, or use MPOL_BIND"
        raise SpecError("MPOL_F_NUMA_BALANCING needs MPOL_BIND", where=f"{where}/flags", hint=hint)
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(policy.flags):
        what = "nodes cannot be both static and relative"
        raise SpecError(what, where=f"{where}/flags", hint="keep one of the two flags")


def check_listener(config: Config) -> None:
    seccomp = _linux(config).seccomp
    if seccomp is not None and seccomp.listener_metadata and not seccomp.listener_path:
        hint = "add listenerPath, or remove it"
        what = "listenerMetadata without listenerPath"
        raise SpecError(what, where="/linux/seccomp/listenerMetadata", hint=hint)


def check_intel_rdt(config: Config) -> None:
    """Source: config-linux.md, "IntelRdt"."""
    rdt = _linux(config).intel_rdt
    if rdt is None:
        return
    where = "/linux/intelRdt"
    if rdt.clos_id in (".", "..") or (rdt.clos_id != "/" and "/" in rdt.clos_id):
        hint = "name one directory, or / for the default group"
        raise SpecError(f"invalid intelRdt.closID {rdt.clos_id!r}", where=f"{where}/closID", hint=hint)
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        hint = 'write one line, as in "MB:0=20;1=70"'
        what = f"invalid intelRdt.memBwSchema {rdt.mem_bw_schema!r}"
        raise SpecError(what, where=f"{where}/memBwSchema", hint=hint)
    for index, line in enumerate(rdt.schemata):
        if "\n" in line or ":" not in line:
            hint = 'write one line in each entry, as in "L3:0=ff;1=ff"'
            what = f"invalid intelRdt.schemata {line!r}"
            raise SpecError(what, where=f"{where}/schemata/{index}", hint=hint)


def check_personality(config: Config) -> None:
    """Source: config-linux.md, "Personality": "Currently no flag values are supported."."""
    personality = _linux(config).personality
    for flag in personality.flags if personality is not None else ():
        where = "/linux/personality/flags/0"
        hint = "leave flags out: the specification defines none"
        raise SpecError(f"unknown personality flag {flag!r}", where=where, hint=hint)


def _linux(config: Config) -> Linux:
    return config.linux or Linux()


LINUX_RULES = (
    check_namespaces,
    check_user_namespace,
    check_time,
    check_paths,
    check_propagation,
    check_sysctls,
    check_memory_policy,
    check_listener,
    check_intel_rdt,
    check_personality,
)
