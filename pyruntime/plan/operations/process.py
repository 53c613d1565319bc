"""Operations on the process itself: identity, limits, and the program."""

from pyruntime.plan.operations.operation import Operation


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
    `unverified` leaves the check out, for a second time behind a seccomp filter that may forbid getcwd.
    """

    code = 54
    path: str
    tolerant: int = 0
    unverified: int = 0

    def describe(self) -> str:
        return f"change to the directory {self.path}"


class SetRlimit(Operation):
    """Set a resource limit (prlimit(2)): by the process itself, or by the parent if the process has lost the right."""

    code = 76
    name: str
    resource: int
    soft: int
    hard: int

    def describe(self) -> str:
        return f"limit {self.name} to {self.soft} (hard {self.hard})"


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

    With `listener_fd` not -1 the descriptor for notifications is sent over that socket, to the parent, which
    alone knows the pid that belongs into the message about it.
    """

    code = 59
    program: bytes
    flags: int
    listener_fd: int = -1

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
