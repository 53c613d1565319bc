"""Who the container's process is: user, groups, capabilities, limits, working directory, environment.

The order of these last steps is what makes them right; see `plan_identity`.
"""

from pyruntime.base.errors import SpecError
from pyruntime.plan.capabilities import CapabilityMasks
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.operations import (
    BecomeUser,
    ChangeDirectory,
    FindExecutable,
    FindHome,
    KeepBounding,
    LoadSeccomp,
    Operation,
    OwnStandardStreams,
    SetCapabilities,
    SetIoPriority,
    SetRlimit,
    SetScheduler,
    SetSecurityAttribute,
    SetUmask,
)
from pyruntime.spec.config import Process, Scheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RLIMIT_NUMBERS = {
    name: number
    for number, name in enumerate(
        [
            "CPU",
            "FSIZE",
            "DATA",
            "STACK",
            "CORE",
            "RSS",
            "NPROC",
            "NOFILE",
            "MEMLOCK",
            "AS",
            "LOCKS",
            "SIGPENDING",
            "MSGQUEUE",
            "NICE",
            "RTPRIO",
            "RTTIME",
        ]
    )
}
_POLICIES = {"OTHER": 0, "FIFO": 1, "RR": 2, "BATCH": 3, "ISO": 4, "IDLE": 5, "DEADLINE": 6}
_SCHEDULER_FLAGS = {
    "RESET_ON_FORK": 0x01,
    "RECLAIM": 0x02,
    "DL_OVERRUN": 0x04,
    "KEEP_POLICY": 0x08,
    "KEEP_PARAMS": 0x10,
    "UTIL_CLAMP_MIN": 0x20,
    "UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"RT": 1, "BE": 2, "IDLE": 3}


def plan_rlimits(process: Process) -> "Iterator[SetRlimit]":
    """The resource limits, in the order given.  Units: as in getrlimit(2).

    Raises:
        SpecError: a type is unknown, or there twice.
    """
    seen: set[str] = set()
    for index, limit in enumerate(process.rlimits):
        origin = f"/process/rlimits/{index}"
        number = RLIMIT_NUMBERS.get(limit.type.removeprefix("RLIMIT_"))
        if number is None or not limit.type.startswith("RLIMIT_"):
            hint = f"use one of {', '.join('RLIMIT_' + name for name in RLIMIT_NUMBERS)}"
            raise SpecError(f"invalid rlimit type: {limit.type}", where=f"{origin}/type", hint=hint)
        if limit.type in seen:
            hint = "keep one entry for each type"
            raise SpecError(f"duplicate rlimit type: {limit.type}", where=f"{origin}/type", hint=hint)
        seen.add(limit.type)
        yield SetRlimit(origin=origin, name=limit.type, resource=number, soft=limit.soft, hard=limit.hard)


def plan_scheduling(process: Process) -> "Iterator[Operation]":
    """`process.scheduler` and `process.ioPriority`.  Source: sched_setattr(2), ioprio_set(2)."""
    if process.scheduler is not None:
        yield SetScheduler(origin="/process/scheduler", attributes=_scheduler_attributes(process.scheduler))
    priority = process.io_priority
    if priority is not None:
        name = getattr(priority, "class_", "") or "IOPRIO_CLASS_BE"
        number = _IO_CLASSES.get(name.removeprefix("IOPRIO_CLASS_"))
        if number is None:
            hint = "use IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE"
            raise SpecError(
                f"unknown I/O priority class {name!r}", where="/process/ioPriority/class", hint=hint
            )
        level = priority.priority or 0
        yield SetIoPriority(origin="/process/ioPriority", priority=number << 13 | level)


def _scheduler_attributes(scheduler: Scheduler) -> bytes:
    """struct sched_attr (56 bytes).  Units of runtime, deadline and period: nanoseconds."""
    policy = _POLICIES.get(scheduler.policy.removeprefix("SCHED_"))
    if policy is None:
        hint = f"use one of {', '.join('SCHED_' + name for name in _POLICIES)}"
        raise SpecError(
            f"unknown scheduler policy {scheduler.policy!r}", where="/process/scheduler/policy", hint=hint
        )
    flags = 0
    for index, name in enumerate(scheduler.flags):
        bit = _SCHEDULER_FLAGS.get(name.removeprefix("SCHED_FLAG_"))
        if bit is None:
            where = f"/process/scheduler/flags/{index}"
            hint = f"use one of {', '.join('SCHED_FLAG_' + known for known in _SCHEDULER_FLAGS)}"
            raise SpecError(f"unknown scheduler flag {name!r}", where=where, hint=hint)
        flags |= bit
    numbers: tuple[tuple[int, int], ...] = (
        (56, 4),
        (policy, 4),
        (flags, 8),
        ((scheduler.nice or 0) & 0xFFFFFFFF, 4),
        (scheduler.priority or 0, 4),
    )
    numbers += (
        (scheduler.runtime or 0, 8),
        (scheduler.deadline or 0, 8),
        (scheduler.period or 0, 8),
        (0, 4),
        (0, 4),
    )
    return b"".join(value.to_bytes(size, "little") for value, size in numbers)


def plan_apparmor(process: Process, facts: HostFacts) -> "Iterator[Operation]":
    profile = process.apparmor_profile
    if not profile:
        return
    if not facts.apparmor:
        if profile == "unconfined":
            return
        what = "apparmor profile is given but AppArmor is not enabled on this host"
        hint = "leave apparmorProfile out, or boot a kernel with AppArmor"
        raise SpecError(what, where="/process/apparmorProfile", hint=hint)
    # Without new privileges the kernel lets a confined process only add a profile to those that confine it.
    command = "stack" if process.no_new_privileges and facts.apparmor_confined else "exec"
    yield SetSecurityAttribute(
        origin="/process/apparmorProfile", attribute="apparmor/exec", value=f"{command} {profile}"
    )


def plan_selinux(process: Process, facts: HostFacts) -> "Iterator[Operation]":
    label = process.selinux_label
    if not label:
        return
    if not facts.selinux:
        what = "selinux label is specified in config, but selinux is disabled or not supported"
        raise SpecError(what, where="/process/selinuxLabel", hint="leave selinuxLabel out on this host")
    yield SetSecurityAttribute(origin="/process/selinuxLabel", attribute="exec", value=label)


def plan_key_label(process: Process | None, facts: HostFacts) -> "Iterator[Operation]":
    """The session keyring gets the label of the process; the exec takes this back."""
    if process is not None and process.selinux_label and facts.selinux:
        label = process.selinux_label
        yield SetSecurityAttribute(origin="/process/selinuxLabel", attribute="keycreate", value=label)


def plan_identity(
    process: Process, facts: HostFacts, seccomp: LoadSeccomp | None, *, keep_groups: bool = False
) -> "Iterator[Operation]":
    """The last steps before the program: each order between two neighbours has a reason.

    chdir comes before the change of user (root may enter what the user cannot) and again after it (the user may
    enter what a mapped root cannot).  The bounding set shrinks while CAP_SETPCAP is still there.
    Capabilities are set after the user, which drops them.  The executable is looked up by the final user, so that
    what it may not run is reported by `create`.  A filter is loaded as late as possible under no_new_privs;
    without that it needs CAP_SYS_ADMIN and so comes before the capabilities go; the directory is verified
    before, because the filter may forbid getcwd.
    """
    masks = CapabilityMasks(process.capabilities, facts.last_capability)
    user = process.user
    filtered = seccomp is not None and not process.no_new_privileges
    yield ChangeDirectory(origin="/process/cwd", path=process.cwd, tolerant=1)
    if seccomp is not None and filtered:
        yield seccomp
    yield OwnStandardStreams(uid=user.uid)
    yield KeepBounding(origin="/process/capabilities/bounding", mask=masks.bounding)
    if not any(entry.startswith("HOME=") and entry != "HOME=" for entry in process.env):
        yield FindHome(uid=user.uid)
    yield BecomeUser(
        origin="/process/user",
        uid=user.uid,
        gid=user.gid,
        groups=b"".join(gid.to_bytes(4, "little") for gid in user.additional_gids),
        keep_groups=int(keep_groups),
    )
    yield SetCapabilities(
        origin="/process/capabilities",
        effective=masks.effective,
        permitted=masks.permitted,
        inheritable=masks.inheritable,
        ambient=masks.ambient,
    )
    yield ChangeDirectory(origin="/process/cwd", path=process.cwd, unverified=int(filtered))
    yield SetUmask(origin="/process/user/umask", mask=0o022 if user.umask is None else user.umask)
    yield FindExecutable(
        origin="/process/args", name=process.args[0], search_path=environment_value(process.env, "PATH")
    )
    if seccomp is not None and process.no_new_privileges:
        yield seccomp


def environment_value(environment: tuple[str, ...], name: str) -> str:
    """The value of a variable; of several the last one counts, as for the program itself."""
    prefix = name + "="
    return next((entry[len(prefix) :] for entry in reversed(environment) if entry.startswith(prefix)), "")


def final_environment(process: Process) -> tuple[str, ...]:
    """`process.env` with the last of several entries of one name, and without an empty HOME, which is filled in."""
    entries: dict[str, str] = {}
    for entry in process.env:
        name = entry.split("=", 1)[0]
        entries.pop(name, None)
        entries[name] = entry
    if entries.get("HOME") == "HOME=":
        del entries["HOME"]
    return tuple(entries.values())
