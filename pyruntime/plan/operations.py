"""The vocabulary of a plan: every operation that the executor knows, one record each.

An operation is data.  It says what is to be done in terms that need no further decision, where it came
from (`origin`, a JSON pointer into config.json, or "" for what every container gets), and describes
itself in one line for `explain`, `--debug` and errors.  `code` numbers it in the encoded plan and
the fields after `origin`, in the order declared, are its arguments there:

    str                 a string without NUL
    tuple[str, ...]     a list of strings
    bytes               a block of bytes
    int                 a 64-bit number

`pyruntime/execute/executor/operations.h` holds the same table in C; a test compares the two.
A `slot` is a place (0 to 63) in which one operation leaves a descriptor for a later one.  Fields whose
names end in `_fd` are numbers of descriptors that the parent passes on.  Paths named `path` below are
looked up inside the container's root, host paths are named `host_path`.
"""

from pyruntime.base.record import Record, fields_of


class Operation(Record):
    """One step of a plan, carried out by the executor."""

    code = 0
    origin: str = ""

    def describe(self) -> str:
        """What the step does, in one line and in the words of config.json."""
        raise AssertionError(f"{type(self).__name__} does not describe itself")


# --- before the container's namespaces exist ------------------------------------------------------


class CloseInherited(Operation):
    """Mark every descriptor from `first` on close-on-exec (CVE-2024-21626)."""

    code = 1
    first: int

    def describe(self) -> str:
        return f"close every descriptor from {self.first} on at the final exec"


class SetDumpable(Operation):
    code = 2
    dumpable: int

    def describe(self) -> str:
        return (
            "allow inspection by other processes" if self.dumpable else "forbid inspection by other processes"
        )


class SetOomScore(Operation):
    """Write /proc/self/oom_score_adj; EACCES is tolerated when `tolerant` (rootless, lowering)."""

    code = 3
    score: int
    tolerant: int = 0

    def describe(self) -> str:
        return f"set the OOM score adjustment to {self.score}"


class JoinCgroup(Operation):
    """Write 0 to `host_path`: `tasks` of a v1 hierarchy (no RCU grace period), else `cgroup.procs`."""

    code = 4
    host_path: str

    def describe(self) -> str:
        return f"join the cgroup of {self.host_path}"


class AttachDeviceProgram(Operation):
    """Load the eBPF `program` and attach it to the v2 cgroup at `host_path` as its device policy."""

    code = 5
    host_path: str
    program: bytes

    def describe(self) -> str:
        return f"attach the device policy of {len(self.program) // 8} instructions to {self.host_path}"


class OpenPath(Operation):
    """Open the directory `host_path` (O_PATH) into `slot`: the cgroup that `Clone` starts in."""

    code = 6
    slot: int
    host_path: str

    def describe(self) -> str:
        return f"open {self.host_path}"


class JoinNamespace(Operation):
    """setns into the namespace file `host_path`, which must be of type `flag` (a CLONE_NEW constant)."""

    code = 7
    host_path: str
    flag: int

    def describe(self) -> str:
        return f"join the {namespace_name(self.flag)} namespace {self.host_path}"


class JoinProcess(Operation):
    """setns into the namespaces `flags` of the process behind `pidfd_fd`, all at once (kernel 5.8)."""

    code = 8
    pidfd_fd: int
    flags: int

    def describe(self) -> str:
        return f"join the container's namespaces: {namespace_names(self.flags)}"


class Unshare(Operation):
    code = 9
    flags: int

    def describe(self) -> str:
        return f"make new namespaces: {namespace_names(self.flags)}"


class BecomeRoot(Operation):
    """setresgid and setresuid to 0 of the user namespace just entered."""

    code = 10

    def describe(self) -> str:
        return "become root of the user namespace"


class Tell(Operation):
    """Report that `rendezvous` is reached; the parent acts on it."""

    code = 11
    rendezvous: int

    def describe(self) -> str:
        return f"report: {RENDEZVOUS_NAMES[self.rendezvous]}"


class Await(Operation):
    """Wait until the parent sends `rendezvous`; end if the parent is gone."""

    code = 12
    rendezvous: int

    def describe(self) -> str:
        return f"wait for: {RENDEZVOUS_NAMES[self.rendezvous]}"


class WriteFile(Operation):
    """Write `data` to the host file `host_path` in one write, e.g. /proc/self/timens_offsets."""

    code = 13
    host_path: str
    data: str

    def describe(self) -> str:
        return f"write {self.data.strip()!r} to {self.host_path}"


class Clone(Operation):
    """clone3 with `flags`, and into the v2 cgroup in `cgroup_slot` unless that is -1.

    The new process is a sibling (CLONE_PARENT): it goes on with the next operation, while the old one
    reports the pid and ends.
    """

    code = 14
    flags: int
    cgroup_slot: int = -1

    def describe(self) -> str:
        kinds = namespace_names(self.flags)
        return f"start the container's process in new namespaces: {kinds}" if kinds else "start a new process"


class MakeMappingNamespace(Operation):
    """Leave in `slot` a user namespace with these maps (text as for /proc/PID/uid_map), for idmapped mounts."""

    code = 15
    slot: int
    uid_map: str
    gid_map: str

    def describe(self) -> str:
        return f"make an id mapping {' '.join(self.uid_map.split())} / {' '.join(self.gid_map.split())}"


class OpenTree(Operation):
    """Leave in `slot` a detached copy of the mount at `host_path` (open_tree), made slave when `slave`."""

    code = 16
    slot: int
    host_path: str
    recursive: int
    slave: int = 0

    def describe(self) -> str:
        return f"take a copy of the mount at {self.host_path}"


class IdmapTree(Operation):
    """Give the detached mount in `tree_slot` the mapping of the user namespace in `namespace_slot`."""

    code = 17
    tree_slot: int
    namespace_slot: int
    recursive: int

    def describe(self) -> str:
        return "map the ids of the mount"


# --- inside the new namespaces, before the root is changed -----------------------------------------


class NewSession(Operation):
    code = 20

    def describe(self) -> str:
        return "start a new session"


class JoinKeyring(Operation):
    """Join a new session keyring `name` and add `permissions` to it; ENOSYS and EPERM-by-policy are tolerated."""

    code = 21
    name: str
    permissions: int

    def describe(self) -> str:
        return f"join the session keyring {self.name}"


class RaiseLoopback(Operation):
    code = 22

    def describe(self) -> str:
        return "bring up the loopback device"


class SetHostPropagation(Operation):
    """Change the propagation of the mount at `host_path` (MS_SLAVE, MS_REC ...)."""

    code = 23
    host_path: str
    flags: int

    def describe(self) -> str:
        return f"make {self.host_path} {propagation_name(self.flags)}"


class MakeParentPrivate(Operation):
    """Make the mount that holds `host_path` private: pivot_root refuses a shared parent."""

    code = 24
    host_path: str

    def describe(self) -> str:
        return f"make the mount above {self.host_path} private"


class BindRoot(Operation):
    """Bind `host_path` onto itself recursively and open it: the container's root from here on."""

    code = 25
    host_path: str

    def describe(self) -> str:
        return f"bind the root filesystem {self.host_path}"


class Mount(Operation):
    """Mount a new filesystem on `path`, which is made if missing.

    `how` is a sum of MOUNT_ constants below.  `fallback_host_path`, unless empty, is bound recursively
    instead when the kernel refuses with EPERM or EBUSY.
    """

    code = 26
    type: str
    source: str
    path: str
    flags: int
    data: str
    how: int = 0
    fallback_host_path: str = ""

    def describe(self) -> str:
        options = f" with {self.data}" if self.data else ""
        return f"mount {self.type} on {self.path}{options}{mount_flag_names(self.flags)}"


MOUNT_REAL_DIRECTORY = 1  # the destination must not be or pass a symbolic link (proc, sysfs)
MOUNT_COPY_UP = 2  # tmpcopyup: fill the tmpfs with what the mount point held
MOUNT_KEEP_MODE = 4  # a tmpfs takes mode and owner of the directory that it covers


class Bind(Operation):
    """Bind `host_path` on `path`; `path` is made as a directory or an empty file, as the source is.

    `how` is a sum of BIND_ constants.
    """

    code = 27
    host_path: str
    path: str
    recursive: int
    how: int = 0

    def describe(self) -> str:
        return f"bind {self.host_path} on {self.path}{', recursive' if self.recursive else ''}"


BIND_SOURCE_NOFOLLOW = 1
BIND_REAL_DIRECTORY = 2  # as MOUNT_REAL_DIRECTORY (a bind of a procfs on /proc)


class BindTree(Operation):
    """Attach the detached mount in `slot` to `path`, made as the source is."""

    code = 28
    slot: int
    path: str

    def describe(self) -> str:
        return f"attach the prepared mount on {self.path}"


class RemountFlags(Operation):
    """Remount `path` in place (MS_REMOUNT|MS_BIND) with MS_ `flags`.

    On EPERM the flags that the mount has and the kernel has locked are kept, unless one of them is in
    `cleared`, which the configuration asks for explicitly.
    """

    code = 29
    path: str
    flags: int
    cleared: int = 0

    def describe(self) -> str:
        return f"remount {self.path}{mount_flag_names(self.flags) or ' with default flags'}"


class RemountFilesystem(Operation):
    """Remount the filesystem at `path` itself (MS_REMOUNT without MS_BIND), e.g. a tmpfs read-only at the end."""

    code = 30
    path: str
    flags: int
    data: str = ""

    def describe(self) -> str:
        return f"remount the filesystem at {self.path}{mount_flag_names(self.flags)}"


class SetMountAttributes(Operation):
    """mount_setattr on `path` with MOUNT_ATTR_ bits `attr_set` and `attr_clear`."""

    code = 31
    path: str
    attr_set: int
    attr_clear: int
    recursive: int

    def describe(self) -> str:
        return f"set mount attributes {self.attr_set:#x}, clear {self.attr_clear:#x} on {self.path}" + (
            " recursively" if self.recursive else ""
        )


class SetPropagation(Operation):
    """Change the propagation of the mount at `path` in the container."""

    code = 32
    path: str
    flags: int

    def describe(self) -> str:
        return f"make {self.path} {propagation_name(self.flags)}"


class MakeDevice(Operation):
    """mknod `path` (mode includes the type bits), or accept it if it is there already and is the same device.

    Without the right to mknod, `fallback_host_path` is bound instead, unless empty.
    """

    code = 33
    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int
    fallback_host_path: str = ""

    def describe(self) -> str:
        kind = {0o020000: "character device", 0o060000: "block device", 0o010000: "fifo"}[
            self.mode & 0o170000
        ]
        number = "" if kind == "fifo" else f" {self.major}:{self.minor}"
        return f"make the {kind} {self.path}{number}"


class BindDevice(Operation):
    """Bind the host's device node `host_path` on `path`, an empty file made for it."""

    code = 34
    host_path: str
    path: str

    def describe(self) -> str:
        return f"bind the device {self.host_path} on {self.path}"


class MakeSymlink(Operation):
    """Make the symbolic link `path`; one that exists is kept, or replaced when `force`."""

    code = 35
    target: str
    path: str
    force: int = 0

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"


class MakeDirectory(Operation):
    """mkdir -p `path` in the container with `mode`."""

    code = 36
    path: str
    mode: int = 0o755

    def describe(self) -> str:
        return f"make sure that the directory {self.path} exists"


class RunHook(Operation):
    """Run a hook inside the container's namespaces and wait for it, at most `timeout` seconds (0: no limit).

    It gets `state_head` + its parent's pid in this pid namespace + `state_tail` on stdin; what it prints
    is captured and quoted when it fails.  Empty `environment` with `inherit` means the executor's own.
    `name` is as in config.json and `index` its place there.
    """

    code = 37
    name: str
    index: int
    host_path: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    state_head: str
    state_tail: str
    timeout: int = 0

    def describe(self) -> str:
        return f"run the {self.name} hook #{self.index} {self.host_path}"


class PivotRoot(Operation):
    """pivot_root into the container's root and detach the old one."""

    code = 38

    def describe(self) -> str:
        return "pivot into the root filesystem"


class MoveRoot(Operation):
    """Move the container's root over / and chroot: for an initramfs, where pivot_root cannot work."""

    code = 39

    def describe(self) -> str:
        return "move the root filesystem over / and chroot"


class ChangeRoot(Operation):
    """Only chroot: the container has no mount namespace of its own."""

    code = 40

    def describe(self) -> str:
        return "chroot into the root filesystem"


# --- inside the container's root --------------------------------------------------------------------


class SetRootPropagation(Operation):
    code = 41
    flags: int

    def describe(self) -> str:
        return f"make the root filesystem {propagation_name(self.flags)}"


class ReopenNullStdio(Operation):
    """Reopen those of descriptors 0 to 2 that are the host's /dev/null from the container's own."""

    code = 42

    def describe(self) -> str:
        return "reopen standard streams that are /dev/null"


class OpenConsole(Operation):
    """Make a pty in the container's devpts, send its master over `socket_fd`, use the slave as standard streams.

    `rows` and `columns` 0 leave the size alone; `bind` also binds the slave on /dev/console; `uid` owns it.
    """

    code = 43
    socket_fd: int
    rows: int
    columns: int
    uid: int
    bind: int

    def describe(self) -> str:
        return "open the console"


class RemountRootReadonly(Operation):
    code = 44

    def describe(self) -> str:
        return "make the root filesystem read-only"


class SetHostname(Operation):
    code = 45
    name: str

    def describe(self) -> str:
        return f"set the hostname to {self.name}"


class SetDomainname(Operation):
    code = 46
    name: str

    def describe(self) -> str:
        return f"set the domain name to {self.name}"


class SetSysctl(Operation):
    """Write `value` to /proc/sys/`key` (with slashes) through a private procfs (CVE-2025-52881)."""

    code = 47
    key: str
    value: str

    def describe(self) -> str:
        return f"set the sysctl {self.key.replace('/', '.')} to {self.value!r}"


class ReadonlyPath(Operation):
    """Bind `path` on itself and make it read-only; nothing if it does not exist."""

    code = 48
    path: str

    def describe(self) -> str:
        return f"make {self.path} read-only"


class MaskPath(Operation):
    """Hide `path`: a directory under an empty read-only tmpfs, anything else under a verified /dev/null."""

    code = 49
    path: str

    def describe(self) -> str:
        return f"mask {self.path}"


class SetSecurityAttribute(Operation):
    """Write `value` to /proc/self/attr/`attribute` through a private procfs (AppArmor, SELinux)."""

    code = 50
    attribute: str
    value: str

    def describe(self) -> str:
        return f"set the security attribute {self.attribute} to {self.value}"


class NoNewPrivileges(Operation):
    code = 51

    def describe(self) -> str:
        return "forbid new privileges"


class ResetAffinity(Operation):
    """Allow all CPUs again: a runtime pinned by its caller must not pin the container."""

    code = 52

    def describe(self) -> str:
        return "reset the CPU affinity"


class OwnStandardStreams(Operation):
    """Give descriptors 0 to 2 to `uid`, unless they are /dev/null, so that the user may reopen them."""

    code = 53
    uid: int

    def describe(self) -> str:
        return f"give the standard streams to user {self.uid}"


class ChangeDirectory(Operation):
    """chdir, then verify that the directory is inside the container (CVE-2024-21626).

    EACCES is tolerated when `tolerant`: root may lack the right that the user has, so it is tried twice.
    """

    code = 54
    path: str
    tolerant: int = 0

    def describe(self) -> str:
        return f"change to the directory {self.path}"


class SetUmask(Operation):
    code = 55
    mask: int

    def describe(self) -> str:
        return f"set the umask to {self.mask:04o}"


class KeepBounding(Operation):
    """Drop every capability that is not in `mask` from the bounding set."""

    code = 56
    mask: int

    def describe(self) -> str:
        return f"limit the bounding set to {self.mask:#x}"


class BecomeUser(Operation):
    """setgroups(`groups`, 32-bit numbers in host byte order; skipped when `keep_groups`), setresgid, setresuid.

    Permitted capabilities survive the change (PR_SET_KEEPCAPS) until `SetCapabilities`.
    """

    code = 57
    uid: int
    gid: int
    groups: bytes
    keep_groups: int = 0

    def describe(self) -> str:
        return f"become user {self.uid} and group {self.gid}"


class SetCapabilities(Operation):
    """capset the three sets and raise `ambient`; bits that cannot be had are left out, never fatal."""

    code = 58
    effective: int
    permitted: int
    inheritable: int
    ambient: int

    def describe(self) -> str:
        return f"set capabilities: effective {self.effective:#x}, permitted {self.permitted:#x}"


class LoadSeccomp(Operation):
    """Load the classic BPF `program` with SECCOMP_FILTER_FLAG_ `flags`.

    With `listener_fd` not -1 the notify descriptor is sent over that socket together with
    `listener_head` + pid + `listener_tail` as the message (container process state).
    """

    code = 59
    program: bytes
    flags: int
    listener_fd: int = -1
    listener_head: str = ""
    listener_tail: str = ""

    def describe(self) -> str:
        return f"load the seccomp filter of {len(self.program) // 8} instructions"


class FindExecutable(Operation):
    """Look `name` up in `search_path` (PATH of process.env) as execvp does and remember it for `Execute`."""

    code = 60
    name: str
    search_path: str

    def describe(self) -> str:
        return f"find the executable {self.name}"


class FindHome(Operation):
    """Remember the home directory of `uid` from the container's /etc/passwd ("/" if not there) for `Execute`."""

    code = 61
    uid: int

    def describe(self) -> str:
        return f"look up the home directory of user {self.uid}"


class AwaitStart(Operation):
    """Wait for one byte from the fifo `fifo_fd` (open for reading and writing); report failures from here on
    as text to `failure_fd`, because the parent is gone."""

    code = 62
    fifo_fd: int
    failure_fd: int

    def describe(self) -> str:
        return "wait for start"


class Execute(Operation):
    """execve the executable found, with HOME appended to `environment` if one was looked up."""

    code = 63
    arguments: tuple[str, ...]
    environment: tuple[str, ...]

    def describe(self) -> str:
        return f"execute {' '.join(self.arguments)}"


class SetScheduler(Operation):
    """sched_setattr with `attributes`, a struct sched_attr of 56 bytes."""

    code = 64
    attributes: bytes

    def describe(self) -> str:
        return "set the scheduler"


class SetIoPriority(Operation):
    """ioprio_set of this process to `priority` (class << 13 | level)."""

    code = 65
    priority: int

    def describe(self) -> str:
        return f"set the I/O priority to {self.priority:#x}"


class SetPersonality(Operation):
    code = 66
    domain: int

    def describe(self) -> str:
        return f"set the execution domain to {self.domain}"


class SetMemoryPolicy(Operation):
    """set_mempolicy(`mode`, `nodes` as a bit mask in 64-bit words)."""

    code = 67
    mode: int
    nodes: bytes

    def describe(self) -> str:
        return f"set the memory policy to mode {self.mode}"


class SetAffinity(Operation):
    """sched_setaffinity to the CPUs of the bit mask `cpus` (64-bit words)."""

    code = 68
    cpus: bytes

    def describe(self) -> str:
        return "set the CPU affinity"


# Rendezvous between the executor and its parent; each name is told by one side and awaited by the other.
CGROUPS_READY = 1  # parent: the cgroups exist
MAPS_WANTED = 2  # executor: the user namespace exists
MAPS_WRITTEN = 3  # parent
HOOKS_WANTED = 4  # executor: mounts are done, the root is not changed yet; limits must be set too
HOOKS_DONE = 5  # parent
READY = 6  # executor: everything but the final steps is done
PROCEED = 7  # parent: rlimits are set, the state is saved

RENDEZVOUS_NAMES = {
    CGROUPS_READY: "the cgroups exist",
    MAPS_WANTED: "the user namespace exists",
    MAPS_WRITTEN: "the id maps are written",
    HOOKS_WANTED: "the mounts are made",
    HOOKS_DONE: "the hooks have run and the limits are set",
    READY: "the container is set up",
    PROCEED: "the state is saved",
}

NAMESPACE_NAMES = {
    0x10000000: "user",
    0x20000000: "pid",
    0x40000000: "network",
    0x00020000: "mount",
    0x04000000: "uts",
    0x08000000: "ipc",
    0x02000000: "cgroup",
    0x00000080: "time",
}


def namespace_name(flag: int) -> str:
    """The spec's name of a CLONE_NEW flag."""
    return NAMESPACE_NAMES.get(flag, hex(flag))


def namespace_names(flags: int) -> str:
    """The spec's names of all CLONE_NEW flags in `flags`, comma-separated."""
    return ", ".join(name for flag, name in NAMESPACE_NAMES.items() if flags & flag)


def propagation_name(flags: int) -> str:
    """The spec's word for MS_SHARED and its siblings, with an r in front when recursive."""
    words = {1 << 20: "shared", 1 << 19: "slave", 1 << 18: "private", 1 << 17: "unbindable"}
    word = next((name for bit, name in words.items() if flags & bit), hex(flags))
    return f"r{word}" if flags & 0x4000 else word


_MOUNT_FLAG_NAMES = {1: "read-only", 2: "nosuid", 4: "nodev", 8: "noexec"}


def mount_flag_names(flags: int) -> str:
    """The restricting MS_ flags in words, with a leading comma, or nothing."""
    return "".join(f", {name}" for bit, name in _MOUNT_FLAG_NAMES.items() if flags & bit)


def all_operations() -> dict[int, type[Operation]]:
    """Every operation by its code."""
    return {operation.code: operation for operation in Operation.__subclasses__()}


_LETTERS: dict[object, str] = {str: "s", int: "i", bytes: "b", tuple[str, ...]: "l"}


def signature(operation: type[Operation]) -> str:
    """The kinds of an operation's arguments, a letter each: s string, l list, b bytes, i number."""
    return "".join(_LETTERS[kind] for name, kind in fields_of(operation).items() if name != "origin")
