"""Groups of the resctrl file system: made, joined and removed.  Source: kernel, filesystems/resctrl.rst."""

import os

from pyruntime.base.errors import StepError, errno_text
from pyruntime.plan.resctrl import GIVEN, ResctrlPlan

_ORIGIN = "/linux/intelRdt"


def make_group(plan: ResctrlPlan) -> None:
    """Make the group and give it its schemata; an existing one must have them already.

    Raises:
        StepError: a group that has to be there is not, has other schemata, or the kernel refuses.
    """
    existed = os.path.isdir(plan.directory)
    if not existed and plan.kind == GIVEN:
        hint = "make it first, or give schemata so that it is made"
        what = f"the resctrl group {plan.directory} does not exist"
        raise StepError(what, where=f"{_ORIGIN}/closID", hint=hint)
    if not existed:
        _make(plan.directory)
    if existed and plan.kind != "own":
        _require(plan)
    else:
        for line in plan.schemata:
            _write(f"{plan.directory}/schemata", line)
    if plan.monitor and not os.path.isdir(plan.monitor):
        _make(plan.monitor)


def join_groups(directories: tuple[str, ...], pid: int) -> None:
    """Put a process, and what it will start, into the groups.

    Raises:
        StepError: the kernel refuses.
    """
    for directory in directories:
        _write(f"{directory}/tasks", str(pid))


def remove_groups(directories: tuple[str, ...]) -> list[str]:
    """Remove groups, which moves what is still in them to the group above; returns warnings."""
    warnings: list[str] = []
    for directory in directories:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.append(f"cannot remove the resctrl group {directory}: {errno_text(error.errno or 0)}")
    return warnings


def _require(plan: ResctrlPlan) -> None:
    """An existing group belongs to somebody else: it must be what the config says, and is not changed."""
    with open(f"{plan.directory}/schemata", encoding="ascii") as file:
        found = _shares(file.read().split("\n"))
    for line in plan.schemata:
        for key, share in _shares([line]).items():
            if found.get(key) != share:
                what = f"the resctrl group {plan.directory} has other schemata than {line!r}"
                hint = "name another closID, or leave the schemata out to take the group as it is"
                raise StepError(what, where=_ORIGIN, hint=hint)


def _shares(lines: list[str]) -> dict[tuple[str, str], str]:
    """(resource, cache) to share: "L3:0=0ff;1=f" is {("L3", "0"): "ff", ("L3", "1"): "f"}."""
    shares: dict[tuple[str, str], str] = {}
    for line in lines:
        resource, _, domains = line.partition(":")
        for domain in filter(None, (each.strip() for each in domains.split(";"))):
            cache, _, share = domain.partition("=")
            shares[resource.strip(), cache.strip()] = share.strip().lower().lstrip("0")
    return shares


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except OSError as error:
        hint = (
            "the processor knows only so many groups (info/*/num_closids): remove one, or share one by closID"
        )
        raise _refused(f"mkdir {directory}", error, hint) from None


def _write(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        status = f"{path.rpartition('/')[0]}/info/last_cmd_status"
        raise _refused(
            f"write {text!r} to {path}", error, f"see {status}, or that of the root group"
        ) from None


def _refused(what: str, error: OSError, hint: str) -> StepError:
    number = error.errno or 0
    text = f"unable to start container process: {what}: {errno_text(number)}"
    return StepError(text, where=_ORIGIN, hint=hint, errno=number)
