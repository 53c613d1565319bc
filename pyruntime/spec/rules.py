"""What a config must obey beyond its form: one function a rule, the table of rules at the end.

Source: runtime-spec 1.3, config.md and config-linux.md; runc's validation where the spec leaves room.
"""

from pyruntime.base.decode import escape
from pyruntime.base.errors import SpecError
from pyruntime.spec.config import Config, Process
from pyruntime.spec.linux import IdMapping, Linux

_NAMESPACES = ("user", "pid", "network", "mount", "uts", "ipc", "cgroup", "time")
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
_IPC_SYSCTLS = frozenset(
    [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ]
)


def check_rules(config: Config) -> None:
    """Check every rule in order.

    Raises:
        SpecError: the first rule that is broken, with its JSON pointer and the way out.
    """
    for rule in RULES:
        rule(config)


def _linux(config: Config) -> Linux:
    return config.linux or Linux()


def _process(config: Config) -> Process:
    assert config.process is not None, "check_process comes first"
    return config.process


def _has_namespace(config: Config, kind: str) -> bool:
    return any(namespace.type == kind for namespace in _linux(config).namespaces)


def check_version(config: Config) -> None:
    major = config.oci_version.partition(".")[0]
    if major != "1":
        hint = 'write "ociVersion": "1.3.0"; this runtime carries out versions 1.x'
        raise SpecError(f"unsupported ociVersion {config.oci_version!r}", where="/ociVersion", hint=hint)


def check_root(config: Config) -> None:
    if config.root is None:
        raise SpecError("config has no root", where="/root", hint='add "root": {"path": "rootfs"}')
    if not config.root.path:
        raise SpecError(
            "root.path is empty", where="/root/path", hint="name the directory of the root filesystem"
        )


def check_process(config: Config) -> None:
    process = config.process
    if process is None:
        hint = 'add a "process" with "args" and "cwd"'
        raise SpecError("process property must not be empty", where="/process", hint=hint)
    if not process.args:
        raise SpecError("args must not be empty", where="/process/args", hint="name the program to run")
    if not process.cwd.startswith("/"):
        hint = "start it with '/': it is looked up from the container's root"
        what = (
            f"cwd must be an absolute path, found {process.cwd!r}"
            if process.cwd
            else "Cwd property must not be empty"
        )
        raise SpecError(what, where="/process/cwd", hint=hint)


def check_environment(config: Config) -> None:
    for index, entry in enumerate(_process(config).env):
        name, equals, _ = entry.partition("=")
        if not equals or not name or "\0" in entry:
            hint = "write each entry as NAME=VALUE"
            raise SpecError(
                f"invalid environment variable: {entry!r}", where=f"/process/env/{index}", hint=hint
            )


def check_user(config: Config) -> None:
    user = _process(config).user
    for name, value in (("uid", user.uid), ("gid", user.gid)):
        if not 0 <= value < 1 << 32:
            raise SpecError(
                f"{name} {value} is out of range", where=f"/process/user/{name}", hint="use 0 to 4294967295"
            )
    if user.umask is not None and not 0 <= user.umask <= 0o777:
        hint = "it is decimal in JSON: 18 is octal 022"
        raise SpecError(f"umask {user.umask} is out of range", where="/process/user/umask", hint=hint)
    mappings = _linux(config).uid_mappings, _linux(config).gid_mappings
    for name, value, table in (("uid", user.uid, mappings[0]), ("gid", user.gid, mappings[1])):
        if table and not any(
            entry.container_id <= value < entry.container_id + entry.size for entry in table
        ):
            hint = f"add it to linux.{name}Mappings, or choose a {name} that is mapped"
            what = f"{name} {value} is not mapped in the user namespace"
            raise SpecError(what, where=f"/process/user/{name}", hint=hint)


def check_oom_score(config: Config) -> None:
    score = _process(config).oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        raise SpecError(
            f"oomScoreAdj {score} is out of range", where="/process/oomScoreAdj", hint="use -1000 to 1000"
        )


def check_namespaces(config: Config) -> None:
    seen: set[str] = set()
    for index, namespace in enumerate(_linux(config).namespaces):
        where = f"/linux/namespaces/{index}"
        if namespace.type not in _NAMESPACES:
            hint = f"use one of {', '.join(_NAMESPACES)}"
            raise SpecError(f"unknown namespace type {namespace.type!r}", where=f"{where}/type", hint=hint)
        if namespace.type in seen:
            raise SpecError(
                f"malformed spec file: duplicated ns {namespace.type!r}", where=where, hint="keep one entry"
            )
        if namespace.path and not namespace.path.startswith("/"):
            hint = "start it with '/', as in /proc/1234/ns/net"
            raise SpecError(
                f"namespace path {namespace.path!r} is relative", where=f"{where}/path", hint=hint
            )
        seen.add(namespace.type)


def check_user_namespace(config: Config) -> None:
    linux = _linux(config)
    namespace = next((entry for entry in linux.namespaces if entry.type == "user"), None)
    if namespace is None:
        if linux.uid_mappings or linux.gid_mappings:
            hint = 'add {"type": "user"} to linux.namespaces'
            what = "user namespace mappings specified, but no user namespace"
            raise SpecError(what, where="/linux/uidMappings", hint=hint)
        return
    for name, table in (("uid", linux.uid_mappings), ("gid", linux.gid_mappings)):
        if not namespace.path and not table:
            hint = "add an entry with containerID, hostID and size"
            raise SpecError(
                f"user namespace without {name}Mappings", where=f"/linux/{name}Mappings", hint=hint
            )
        _check_mappings(table, f"/linux/{name}Mappings")


def _check_mappings(table: tuple[IdMapping, ...], where: str) -> None:
    for index, entry in enumerate(table):
        if entry.size < 1 or entry.container_id < 0 or entry.host_id < 0:
            raise SpecError(
                "invalid id mapping", where=f"{where}/{index}", hint="size must be at least 1, ids 0 or more"
            )
    if len(table) > 340:
        raise SpecError("too many id mappings", where=where, hint="the kernel takes at most 340")


def check_time(config: Config) -> None:
    offsets = _linux(config).time_offsets
    namespace = next((entry for entry in _linux(config).namespaces if entry.type == "time"), None)
    if offsets and (namespace is None or namespace.path):
        hint = 'add {"type": "time"} without a path to linux.namespaces'
        raise SpecError("timeOffsets need a new time namespace", where="/linux/timeOffsets", hint=hint)
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            hint = "use monotonic or boottime"
            raise SpecError(
                f"unknown clock {clock!r}", where=f"/linux/timeOffsets/{escape(clock)}", hint=hint
            )


def check_names(config: Config) -> None:
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value and not _has_namespace(config, "uts"):
            hint = 'add {"type": "uts"} to linux.namespaces'
            raise SpecError(
                f"unable to set {name} without a private UTS namespace", where=f"/{name}", hint=hint
            )
        if len(value) > 64:
            raise SpecError(f"{name} is too long", where=f"/{name}", hint="at most 64 characters")


def check_mounts(config: Config) -> None:
    for index, mount in enumerate(config.mounts):
        where = f"/mounts/{index}"
        if not mount.destination.startswith("/"):
            hint = "start it with '/': it is looked up from the container's root"
            what = f"mount destination {mount.destination!r} is not absolute"
            raise SpecError(what, where=f"{where}/destination", hint=hint)
        if not [part for part in mount.destination.split("/") if part not in ("", ".", "..")]:
            hint = "the root comes from root.path: choose a path below it"
            raise SpecError("mount destination is the root itself", where=f"{where}/destination", hint=hint)
        binds = "bind" in mount.options or "rbind" in mount.options
        if mount.type in ("bind", "rbind") and not binds:
            hint = 'add "rbind" to its options: the type alone does not make a bind mount'
            what = f"mount of type {mount.type!r} without the option bind or rbind"
            raise SpecError(what, where=f"{where}/options", hint=hint)
        if not mount.type and not binds and "remount" not in mount.options:
            hint = 'add "type", or "rbind" to the options'
            raise SpecError(f"mount on {mount.destination} has no type", where=f"{where}/type", hint=hint)
        _check_mount_mappings(bool(mount.uid_mappings), bool(mount.gid_mappings), binds, where)


def _check_mount_mappings(uid: bool, gid: bool, binds: bool, where: str) -> None:
    if uid != gid:
        raise SpecError(
            "mount has only one of uidMappings and gidMappings", where=where, hint="give both or neither"
        )
    if uid and not binds:
        hint = "only a bind mount can be idmapped: add bind to its options"
        raise SpecError("id mappings on a mount that is not a bind mount", where=where, hint=hint)


def check_paths(config: Config) -> None:
    linux = _linux(config)
    for name, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        if paths and not _has_namespace(config, "mount"):
            hint = 'add {"type": "mount"} to linux.namespaces'
            raise SpecError(f"{name} need a private mount namespace", where=f"/linux/{name}", hint=hint)
        for index, path in enumerate(paths):
            if not path.startswith("/"):
                hint = "start it with '/': it is looked up from the container's root"
                raise SpecError(f"path {path!r} is relative", where=f"/linux/{name}/{index}", hint=hint)
    if linux.rootfs_propagation not in _PROPAGATIONS:
        hint = "use shared, slave, private or unbindable"
        what = f"rootfsPropagation={linux.rootfs_propagation} is not supported"
        raise SpecError(what, where="/linux/rootfsPropagation", hint=hint)
    for index, device in enumerate(linux.devices):
        if not device.path.startswith("/"):
            raise SpecError(
                "device path is relative", where=f"/linux/devices/{index}/path", hint="start it with '/'"
            )


def check_sysctls(config: Config) -> None:
    for key, value in _linux(config).sysctl.items():
        where = f"/linux/sysctl/{escape(key)}"
        dot, slash = key.find("."), key.find("/")
        name = key if dot >= 0 and (slash < 0 or dot < slash) else key.replace("/", ".")
        if "\n" in value or ".." in name.split(".") or name.startswith("."):
            raise SpecError(
                f"invalid sysctl {key!r}", where=where, hint="write one line, and a key below /proc/sys"
            )
        _check_sysctl(config, key, name, where)


def _check_sysctl(config: Config, key: str, name: str, where: str) -> None:
    needed = ""
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        needed = "ipc"
    elif name.startswith("net."):
        needed = "network"
    elif name == "kernel.domainname":
        needed = "uts"
    elif name.startswith("user."):
        needed = "user"
    elif name == "kernel.hostname":
        what = f'sysctl {key!r} is not allowed as it conflicts with the OCI "hostname" field'
        raise SpecError(what, where=where, hint="use hostname instead")
    if not needed or not _has_namespace(config, needed):
        hint = f'add {{"type": "{needed}"}} to linux.namespaces' if needed else "set it on the host"
        raise SpecError(f"sysctl {key!r} is not in a separate kernel namespace", where=where, hint=hint)


def check_hooks(config: Config) -> None:
    hooks = config.hooks
    if hooks is None:
        return
    lists = {
        "prestart": hooks.prestart,
        "createRuntime": hooks.create_runtime,
        "createContainer": hooks.create_container,
        "startContainer": hooks.start_container,
        "poststart": hooks.poststart,
        "poststop": hooks.poststop,
    }
    for name, entries in lists.items():
        for index, hook in enumerate(entries):
            where = f"/hooks/{name}/{index}"
            if not hook.path.startswith("/"):
                hint = "start it with '/'"
                raise SpecError(f"hook path {hook.path!r} is relative", where=f"{where}/path", hint=hint)
            if hook.timeout is not None and hook.timeout <= 0:
                raise SpecError(
                    "hook timeout must be greater than zero", where=f"{where}/timeout", hint="in seconds"
                )


def check_annotations(config: Config) -> None:
    if "" in config.annotations:
        raise SpecError("annotation with an empty key", where="/annotations", hint="name it, or remove it")


def check_supported(config: Config) -> None:
    """What is not carried out yet is refused: ignoring it would be a promise broken in silence."""
    linux = _linux(config)
    missing = (
        ("/linux/intelRdt", linux.intel_rdt is not None),
        ("/linux/netDevices", bool(linux.net_devices)),
        ("/linux/mountLabel", bool(linux.mount_label)),
        ("/linux/seccomp/listenerPath", linux.seccomp is not None and bool(linux.seccomp.listener_path)),
    )
    for where, present in missing:
        if present:
            name = where.rsplit("/", 1)[-1]
            raise SpecError(f"{name} is not supported by this version", where=where, hint="leave it out")


RULES = (
    check_version,
    check_root,
    check_process,
    check_environment,
    check_namespaces,
    check_user_namespace,
    check_user,
    check_oom_score,
    check_time,
    check_names,
    check_mounts,
    check_paths,
    check_sysctls,
    check_hooks,
    check_annotations,
    check_supported,
)
