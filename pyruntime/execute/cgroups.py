"""Carries out what is planned for cgroups, and takes them away again."""

import errno
import os
import time

from pyruntime.base.errors import StateError, StepError, errno_text
from pyruntime.base.files import read_file
from pyruntime.host.freezer import is_frozen
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.plan.cgroup.operations import (
    CgroupOperation,
    FillCpuset,
    MakeCgroup,
    OwnCgroup,
    SetUnitProperties,
    StartUnit,
    WriteCgroupFile,
    WriteCgroupValues,
    WriteMemoryLimits,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_EMPTY_HINT = "choose another linux.cgroupsPath, or end the processes that sit there"


def make_cgroups(plan: CgroupPlan, pid: int, made: "Callable[[str], None]") -> None:
    """Make the container's cgroups, which must be new or empty; `pid` is the executor, which will enter them.

    `made` is told the directory of each, as soon as it may be entered.

    Raises:
        StateError: there are processes in one of them, or it is frozen.
        StepError: the kernel or systemd refuses.
        HostError: systemd does not answer.
    """
    for operation in plan.make:
        try:
            if isinstance(operation, MakeCgroup):
                if _make(operation) and not operation.in_use:
                    _require_unused(operation.path)
                made(operation.path)
            elif isinstance(operation, StartUnit):
                from pyruntime.execute.systemd import start_unit

                for directory in operation.directories:
                    _require_unused(directory)
                start_unit(operation, pid)
            else:
                carry_out(operation)
        except OSError as error:
            raise failure_of(operation, error) from None


def apply_limits(plan: CgroupPlan) -> None:
    """Write the limits.

    Raises:
        StepError: the kernel or systemd refuses one; quotes the file and the config entry.
        HostError: systemd does not answer.
    """
    for operation in plan.limits:
        try:
            carry_out(operation)
        except OSError as error:
            raise failure_of(operation, error) from None


def carry_out(operation: CgroupOperation) -> None:
    """One step other than the making of a cgroup or a unit, as the kernel answers (OSError).

    Raises:
        ExpectedError: it is systemd's step, and systemd refuses or does not answer.
    """
    if isinstance(operation, WriteCgroupFile):
        _write_file(operation)
    elif isinstance(operation, WriteCgroupValues):
        write_value(operation.path, *operation.values)
    elif isinstance(operation, FillCpuset):
        _fill_cpuset(operation.path, operation.mount_point)
    elif isinstance(operation, WriteMemoryLimits):
        _write_memory_limits(operation)
    elif isinstance(operation, SetUnitProperties):
        from pyruntime.execute.systemd import set_unit_properties

        set_unit_properties(operation)
    elif isinstance(operation, OwnCgroup):
        _give_away(operation)


def failure_of(operation: CgroupOperation, error: OSError) -> StepError:
    """What the kernel refused, with the config entry and what to do."""
    number = error.errno or 0
    text = f"{operation.describe()}: {errno_text(number)}"
    hint = ""
    limit = _memory_limit(operation) if number == errno.EBUSY else None
    if limit is not None:
        directory, value = limit
        usage, peak = (read_value(f"{directory}/memory.{name}_in_bytes") for name in ("usage", "max_usage"))
        text = f"unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"
        hint = "the kernel refuses a limit below what is used, as far as it cannot free that"
    elif number in (errno.EACCES, errno.EPERM):
        hint = "the caller may not write there: delegate the cgroup, or leave the limits out"
    elif number == errno.ENOENT:
        hint = "the controller is not enabled in this cgroup, or this kernel has no such file"
        if "/user@" in str(getattr(operation, "path", "")):
            hint += "; Delegate= of user@.service says which controllers users get"
    return StepError(
        f"cannot set up cgroups: {text}", where=operation.origin, hint=hint, call="write", errno=number
    )


def _memory_limit(operation: CgroupOperation) -> tuple[str, str] | None:
    """The cgroup of v1 and the limit, if it is a memory limit that is written."""
    if isinstance(operation, WriteMemoryLimits):
        return operation.directory, operation.limit
    if isinstance(operation, WriteCgroupFile):
        directory, _, name = operation.path.rpartition("/")
        return (directory, operation.value) if name == "memory.limit_in_bytes" else None
    return None


def _make(operation: MakeCgroup) -> bool:
    """mkdir, walking up only where a parent is missing; True if the directory was there already."""
    try:
        os.mkdir(operation.path, 0o755)
        existed = False
    except FileExistsError:
        existed = True
    except FileNotFoundError:
        os.makedirs(operation.path, 0o755, exist_ok=True)
        existed = False
    if operation.controllers:
        _enable_controllers(operation)
    if operation.unified:
        _require_domain(operation)
    return existed


def _require_domain(operation: MakeCgroup) -> None:
    """A cgroup below a threaded one cannot have processes until it is threaded too, as runc and crun make it."""
    kind = read_value(f"{operation.path}/cgroup.type")
    if kind in ("domain", ""):
        return
    if operation.domain_limit:
        what = f"cannot set up cgroups: {operation.path} is {kind}, and this limit counts whole processes"
        hint = "choose a linux.cgroupsPath that is not below a threaded cgroup, or leave the limit out"
        raise StepError(what, where=operation.domain_limit, hint=hint)
    invalid = []
    path = operation.path
    while read_value(f"{path}/cgroup.type") == "domain invalid":
        invalid.append(path)
        path = path.rpartition("/")[0]
    for path in reversed(invalid):
        write_value(f"{path}/cgroup.type", "threaded")


def _enable_controllers(operation: MakeCgroup) -> None:
    """cgroup.subtree_control of every parent, from the top; what cannot be enabled shows when a limit is written."""
    parts = operation.path[len(operation.mount_point) :].strip("/").split("/")[:-1]
    directory = operation.mount_point
    for part in ("", *parts):
        directory = f"{directory}/{part}" if part else directory
        enabled = read_value(f"{directory}/cgroup.subtree_control").split()
        for controller in operation.controllers:
            if controller in enabled:
                continue
            try:
                write_value(f"{directory}/cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                if error.errno not in (
                    errno.EBUSY,
                    errno.EOPNOTSUPP,
                    errno.ENOENT,
                    errno.EACCES,
                    errno.EPERM,
                ):
                    raise


def _give_away(operation: OwnCgroup) -> None:
    """chown of the directory and of the files that the kernel calls safe to delegate."""
    # config-linux.md, "Cgroup ownership": the second list is for kernels that have no first one.
    files = read_value("/sys/kernel/cgroup/delegate").split() or [
        "cgroup.procs", "cgroup.subtree_control", "cgroup.threads",
    ]  # fmt: skip
    try:
        os.chown(operation.path, operation.user, -1)
        for file in files:
            try:
                os.chown(f"{operation.path}/{file}", operation.user, -1)
            except FileNotFoundError:
                continue  # a controller that is not enabled here
    except PermissionError:
        if not operation.tolerant:
            raise


def _fill_cpuset(path: str, mount_point: str) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if read_value(f"{path}/{name}"):
            continue
        parent = path.rpartition("/")[0]
        if len(parent) > len(mount_point):
            _fill_cpuset(parent, mount_point)
        write_value(f"{path}/{name}", read_value(f"{parent}/{name}"))


def _require_unused(directory: str) -> None:
    found = processes_in((directory,))
    if found:
        what = f"container's cgroup is not empty: {len(found)} process(es) found"
        raise StateError(what, where=directory, hint=_NOT_EMPTY_HINT)
    if is_frozen({"freezer": directory}) or is_frozen({"": directory}):
        what = "container's cgroup unexpectedly frozen"
        raise StateError(what, where=directory, hint="thaw or remove it first")


def _write_file(operation: WriteCgroupFile) -> None:
    try:
        write_value(operation.path, operation.value)
    except FileNotFoundError:
        if operation.instead:
            write_value(operation.instead[0], operation.instead[1])
        elif not operation.missing_ok:
            raise


def _write_memory_limits(operation: WriteMemoryLimits) -> None:
    limit, swap = (
        f"{operation.directory}/memory.limit_in_bytes",
        f"{operation.directory}/memory.memsw.limit_in_bytes",
    )
    try:
        write_value(limit, operation.limit)
        write_value(swap, operation.swap)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        write_value(swap, operation.swap)
        write_value(limit, operation.limit)


def write_value(path: str, *values: str) -> None:
    """Write each value with one write; raises OSError as the kernel answers."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for value in values:
            os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def read_value(path: str) -> str:
    """A cgroup file without the newline at its end; nothing if there is no such file."""
    try:
        return read_file(path).decode().strip()
    except OSError:
        return ""


def _subtree(directory: str) -> list[str]:
    """A cgroup and all below it, the deepest first."""
    found: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found += _subtree(entry.path)
    except OSError:
        return []
    return [*found, directory]


def processes_in(directories: tuple[str, ...]) -> list[int]:
    """The pids of all processes in these cgroups and below, each once, sorted."""
    found: set[int] = set()
    for directory in directories:
        for path in _subtree(directory):
            found.update(int(pid) for pid in read_value(f"{path}/cgroup.procs").split())
    return sorted(found)


def signal_all(directories: tuple[str, ...], signal: int) -> None:
    """Signal every process in cgroups that a container has for itself.

    With SIGKILL the kernel does it at once where it can (cgroup.kill); else the cgroup is frozen meanwhile, so
    that nothing escapes by forking.  Process 1 and this process are never signalled, whatever stands there.
    """
    if signal == 9:
        for directory in directories:
            try:
                write_value(f"{directory}/cgroup.kill", "1")
            except OSError:
                continue
            else:
                return
    own = os.getpid()
    for pid in processes_in(directories):
        if pid in (0, 1, own):
            continue
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            continue


def _freezers(directories: tuple[str, ...]) -> "list[tuple[str, str, str]]":
    """(file, word for frozen, word for thawed) of each cgroup here that can be frozen."""
    found: list[tuple[str, str, str]] = []
    for directory in directories:
        if os.path.exists(f"{directory}/freezer.state"):
            return [(f"{directory}/freezer.state", "FROZEN", "THAWED")]
        if os.path.exists(f"{directory}/cgroup.freeze"):
            found.append((f"{directory}/cgroup.freeze", "1", "0"))
    return found[:1]


def set_frozen(directories: tuple[str, ...], frozen: bool) -> None:
    """Freeze or thaw, and wait until it is so.

    Raises:
        StepError: there is no freezer, or it does not get there within ten seconds.
    """
    freezers = _freezers(directories)
    if not freezers:
        raise StepError(
            "cannot freeze: no cgroup of the container has a freezer", hint="mount the freezer controller"
        )
    file, on, off = freezers[0]
    wanted = on if frozen else off
    deadline = time.monotonic() + 10
    write_value(file, wanted)
    while not _settled(file, wanted):
        if time.monotonic() > deadline:
            write_value(file, off)
            raise StepError("the cgroup does not freeze", where=file, hint="a process hangs in the kernel")
        time.sleep(0.001)
        if file.endswith("freezer.state"):
            # A v1 freezer may stay FREEZING until it is told again.
            write_value(file, wanted)


def _settled(file: str, wanted: str) -> bool:
    if file.endswith("freezer.state"):
        return read_value(file) == wanted
    events = read_value(file.rpartition("/")[0] + "/cgroup.events").split()
    return events[events.index("frozen") + 1] == wanted if "frozen" in events else True


def remove_cgroups(directories: tuple[str, ...]) -> None:
    """Remove cgroups and all below them; waits a little for processes that are just ending.

    Raises:
        StepError: there are still processes in one.
    """
    for directory in directories:
        delay = 0.001
        while True:
            try:
                os.rmdir(directory)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                below = _subtree(directory)[:-1]
                for path in below:
                    _try_rmdir(path)
                if delay > 1:
                    pids = processes_in((directory,))
                    what = f"cannot remove the cgroup: {errno_text(error.errno or 0)}"
                    hint = f"processes in it: {', '.join(map(str, pids)) or 'none'}"
                    raise StepError(
                        what, where=directory, hint=hint, call="rmdir", errno=error.errno or 0
                    ) from None
                time.sleep(delay)
                delay *= 2


def remove_empty_cgroups(directories: tuple[str, ...]) -> bool:
    """Remove those of the cgroups that hold nothing; the others stay as they are.  True if none is left."""
    left = [directory for directory in directories if not _try_rmdir(directory)]
    return not left


def _try_rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True
