"""What systemd is asked for: a transient unit for the container, other properties of it, its end."""

import errno
import os

from pyruntime.base.errors import HostError, StateError, StepError
from pyruntime.execute.bus import BusError, SystemdConnection
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.plan.cgroup.operations import SetUnitProperties, StartUnit, UnitOperation, UnitProperty

_REPLACE = "replace"
_GONE = frozenset({"NoSuchUnit", "UnitNotLoaded"})
# What a systemd older than the property answers; the limit is in the file of the cgroup all the same.
_UNKNOWN_PROPERTY = "or unknown property"
# Properties that came with a later version than the oldest systemd with cgroup v2 delegation.
_NEWER = frozenset({"AllowedCPUs", "AllowedMemoryNodes", "CPUQuotaPeriodUSec", "MemoryMin"})


def start_unit(operation: StartUnit, pid: int) -> None:
    """Start a transient unit around process `pid`, and wait until that is in the unit's cgroup.

    Raises:
        StateError: there is a unit of this name.
        StepError: systemd refuses it.
        HostError: systemd does not answer.
    """
    properties = [_on_the_wire(each) for each in operation.properties]
    if operation.with_process:
        properties.append(("PIDs", ("au", [pid])))
    with _connect(of_user=operation.of_user) as systemd:
        if operation.with_process:
            systemd.require_same_processes()
        result = _start(systemd, operation, properties)
        if result != "done":
            _reset(systemd, operation.unit)
            hint = f"see: journalctl{' --user' if operation.of_user else ''} -u {operation.unit}"
            what = f"error creating systemd unit `{operation.unit}`: got `{result}`"
            raise StepError(what, where=operation.origin, hint=hint)
    if operation.with_process:
        _require_place(operation, pid)
    if operation.sub_cgroup:
        _enter_sub_cgroup(operation, pid)


def _connect(*, of_user: bool) -> SystemdConnection:
    try:
        return SystemdConnection(of_user=of_user)
    except HostError as error:
        what = f"systemd cgroup flag passed, but systemd support for managing cgroups is not available: {error.what}"
        raise HostError(what, hint=error.hint) from None


def _start(
    systemd: SystemdConnection, operation: StartUnit, properties: "list[tuple[str, tuple[str, object]]]"
) -> str:
    def start() -> str:
        signature = "ssa(sv)a(sa(sv))"
        return systemd.run_job("StartTransientUnit", signature, operation.unit, _REPLACE, properties, [])

    try:
        try:
            return start()
        except BusError as error:
            if error.name != "UnitExists":
                raise
        # What has failed stays until somebody has looked at it; what runs is not touched by this.
        _reset(systemd, operation.unit)
        return start()
    except BusError as error:
        if error.name == "UnitExists":
            hint = f"choose another linux.cgroupsPath, or see: systemctl status {operation.unit}"
            what = f"unit {operation.unit} already exists"
            raise StateError(what, where=operation.origin, hint=hint) from None
        raise _refused(operation, error) from None


def set_unit_properties(operation: SetUnitProperties) -> None:
    """Change properties of a unit until it ends.

    Raises:
        StepError: systemd refuses one.
        HostError: systemd does not answer.
    """
    properties = list(operation.properties)
    with SystemdConnection(of_user=operation.of_user) as systemd:
        while properties:
            values = [_on_the_wire(each) for each in properties]
            try:
                systemd.call("SetUnitProperties", "sba(sv)", operation.unit, True, values)
            except BusError as error:
                if error.name in _GONE:
                    raise StateError("container not running", where=operation.unit) from None
                unknown = _unknown_property(error, properties)
                if unknown not in _NEWER:
                    raise _refused(operation, error) from None
                properties = [each for each in properties if each.name != unknown]
            else:
                return


def stop_unit(unit: str, *, of_user: bool) -> None:
    """End a unit and all its processes, and have systemd forget it; it is no error if it is gone.

    Raises:
        StepError: systemd refuses.
        HostError: systemd does not answer.
    """
    with SystemdConnection(of_user=of_user) as systemd:
        try:
            systemd.run_job("StopUnit", "ss", unit, _REPLACE)
        except BusError as error:
            if error.name in _GONE:
                return
            raise StepError(f"cannot stop systemd unit {unit}: {error}") from None
        _reset(systemd, unit)


def attach_process(cgroup: CgroupPlan, pid: int) -> None:
    """Have systemd move a process into a unit's cgroup, from where this program may not move it itself.

    Raises:
        StepError: systemd refuses.
        HostError: systemd does not answer.
    """
    with SystemdConnection(of_user=cgroup.unit_of_user) as systemd:
        systemd.require_same_processes()
        try:
            systemd.call("AttachProcessesToUnit", "ssau", cgroup.unit, cgroup.attach, [pid])
        except BusError as error:
            hint = "run it from below the user's systemd: systemd-run --user --scope -p Delegate=yes ..."
            raise StepError(f"cannot move a process into {cgroup.unit}: {error}", hint=hint) from None


def _reset(systemd: SystemdConnection, unit: str) -> None:
    try:
        systemd.call("ResetFailedUnit", "s", unit)
    except BusError:
        # Most units have not failed, and are forgotten by then.
        return


def _on_the_wire(each: UnitProperty) -> tuple[str, tuple[str, object]]:
    return each.name, (each.signature, each.value)


def _unknown_property(error: BusError, properties: list[UnitProperty]) -> str:
    if _UNKNOWN_PROPERTY not in error.text:
        return ""
    return next((each.name for each in properties if each.name in _words(error)), "")


def _words(error: BusError) -> list[str]:
    return "".join(letter if letter.isalnum() else " " for letter in error.text).split()


def _refused(operation: UnitOperation, error: BusError) -> StepError:
    """The answer in systemd's words, at the config entry of the property that it names."""
    named = [each for each in operation.properties if each.name in _words(error)]
    # An error that names none is about a type, and only those of annotations are not ours.
    asked = [each for each in operation.properties if each.origin.startswith("/annotations")]
    chosen = named or asked
    where = chosen[0].origin if chosen else operation.origin
    if error.name in ("ServiceUnknown", "NameHasNoOwner"):
        hint = "a D-Bus daemon answers, but no systemd: is it the init of this host?"
    elif error.name in ("AccessDenied", "InteractiveAuthorizationRequired"):
        hint = "run it as root, or rootless with a systemd of your own (loginctl enable-linger)"
    elif where.startswith("/annotations"):
        hint = "correct or remove the annotation; org.freedesktop.systemd1(5) has names and types"
    else:
        hint = f"see: journalctl{' --user' if operation.of_user else ''} -u {operation.unit}"
    what = (
        f"unable to start unit {operation.unit}" if isinstance(operation, StartUnit) else operation.describe()
    )
    return StepError(f"{what}: {error}", where=where, hint=hint)


def _require_place(operation: StartUnit, pid: int) -> None:
    """The plan says where systemd puts the unit; limits written elsewhere would limit somebody else."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        found = [line.rstrip("\n").split(":", 2)[2] for line in file]
    suffixes = [path for path in found if path.endswith(f"/{operation.unit}")]
    planned = operation.sub_cgroup.rpartition(f"/{operation.unit}/")[0]
    directories = (f"{planned}/{operation.unit}",) if planned else operation.directories
    if not any(directory.endswith(path) for directory in directories for path in suffixes):
        what = f"systemd has put {operation.unit} elsewhere than planned: {', '.join(sorted(set(found)))}"
        hint = f"planned was {', '.join(directories)}: run it under the systemd that is process 1 here"
        raise HostError(what, where=operation.origin, hint=hint)


def _enter_sub_cgroup(operation: StartUnit, pid: int) -> None:
    """Processes sit in leaves only, so the executor leaves the unit's own cgroup before controllers go on below."""
    try:
        os.makedirs(operation.sub_cgroup, 0o755, exist_ok=True)
        with open(f"{operation.sub_cgroup}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(pid))
    except OSError as error:
        text = os.strerror(error.errno or 0)
        hint = "the annotation run.oci.systemd.subgroup asks for it"
        if error.errno == errno.EACCES:
            hint += "; without root it needs a systemd of the user's own"
        raise StepError(f"cannot enter the cgroup {operation.sub_cgroup}: {text}", hint=hint) from None
