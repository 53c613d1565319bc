"""Operations before the container's namespaces exist, and those that make or join them."""

from pyruntime.plan.operations.operation import RENDEZVOUS_NAMES, Operation, namespace_name, namespace_names


class CloseInherited(Operation):
    """Mark every descriptor from `first` on close-on-exec (CVE-2024-21626)."""

    code = 1
    first: int

    def describe(self) -> str:
        return f"close every descriptor from {self.first} on at the final exec"


class CloseOwn(Operation):
    """Close every descriptor but the container's and those that lead to the parent.

    Close-on-exec is too late: the path of the program is looked up before, and an image may lead it through
    /proc/self/fd to a program of the host (CVE-2024-21626).
    """

    code = 69

    def describe(self) -> str:
        return "close what is still open of the host"


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


class OpenNamespace(Operation):
    """Leave in `slot` the user namespace at `host_path`, whose mapping an idmapped mount gets."""

    code = 75
    slot: int
    host_path: str

    def describe(self) -> str:
        return f"take the id mapping of {self.host_path}"


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


class OpenDescriptor(Operation):
    """Open a file of the host as this descriptor, closed again by the final exec; `flags` say how (open(2))."""

    code = 77
    descriptor_fd: int
    host_path: str
    flags: int

    def describe(self) -> str:
        return f"open {self.host_path}"


class KeepDescriptor(Operation):
    """Take the descriptor out of what `CloseInherited` has marked: the program that is executed gets it."""

    code = 70
    descriptor_fd: int

    def describe(self) -> str:
        return f"pass descriptor {self.descriptor_fd} on"


class BindHost(Operation):
    """Bind `host_path` with all mounts below it on the directory `target_host_path`."""

    code = 71
    host_path: str
    target_host_path: str

    def describe(self) -> str:
        return f"bind {self.host_path} on {self.target_host_path}"


class EnterRoot(Operation):
    """From here on the root that paths are looked up in is that of this process: that of the mount namespace joined."""

    code = 72

    def describe(self) -> str:
        return "take the root of the container"


class Unmount(Operation):
    """Take off what is mounted on `path` (MNT_DETACH), which must be a mount point."""

    code = 73
    path: str

    def describe(self) -> str:
        return f"unmount {self.path}"
