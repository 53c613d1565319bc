"""Changes the limits of a cgroup in use: all of them, or none."""

import errno
import os

from pyruntime.base.errors import ExpectedError
from pyruntime.execute.cgroups import carry_out, failure_of, read_value, write_value
from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile, WriteMemoryLimits

_MEMORY, _SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
# What takes a device's line away again, in files that have one line for each device; elsewhere it is 0.
_NOTHING = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "rdma.max": "hca_handle=max hca_object=max",
    "io.bfq.weight": "default",
    "io.weight": "default",
}


def update_limits(operations: tuple[CgroupOperation, ...]) -> None:
    """Write the limits; if the kernel refuses one, all have their old values again.

    Raises:
        StepError: the kernel refuses a limit; the hint names what could not be brought back, if anything.
    """
    undo = _Undo(operations)
    try:
        # Some limits bound each other (period and quota): what is refused may be right after its companion.
        late = [operation for operation in operations if not _try(operation)]
        for operation in late:
            _must(operation)
    except ExpectedError as error:
        failures = undo.carry_out()
        if failures:
            error.hint = "; ".join(["old values could not be brought back", *failures])
        raise


def _try(operation: CgroupOperation) -> bool:
    """False if the kernel calls the value invalid."""
    try:
        carry_out(operation)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise failure_of(operation, error) from None
    return True


def _must(operation: CgroupOperation) -> None:
    try:
        carry_out(operation)
    except OSError as error:
        raise failure_of(operation, error) from None


class _Undo:
    """What the files said before, and how to write that back."""

    def __init__(self, operations: tuple[CgroupOperation, ...]) -> None:
        self.operations = operations
        self.before: dict[str, str] = {}
        for operation in operations:
            for path in _files(operation):
                if os.path.exists(path):
                    self.before.setdefault(path, read_value(path))

    def carry_out(self) -> list[str]:
        failures: list[str] = []
        for _ in range(2):
            # Twice: limits that bound each other may want the other order.
            failures = [line for operation in reversed(self.operations) for line in self._restore(operation)]
        return failures

    def _restore(self, operation: CgroupOperation) -> list[str]:
        failures: list[str] = []
        for path in _files(operation):
            if path not in self.before:
                continue
            value = self._old_value(path, operation)
            if not value or read_value(path) == self.before[path]:
                continue
            try:
                write_value(path, value)
            except OSError as error:
                failures.append(f"{path.rpartition('/')[2]} = {value}: {os.strerror(error.errno or 0)}")
        return failures

    def _old_value(self, path: str, operation: CgroupOperation) -> str:
        before, name = self.before[path], path.rpartition("/")[2]
        key, blank, _ = (
            operation.value.partition(" ") if isinstance(operation, WriteCgroupFile) else ("", "", "")
        )
        if not blank or (":" not in key and name not in ("net_prio.ifpriomap", "rdma.max")):
            return before.removeprefix("default ")
        # One line for each device: only this device's was changed.
        for line in before.splitlines():
            if line.split(" ", 1)[0] == key:
                return line
        return f"{key} {_NOTHING.get(name, '0')}"


def _files(operation: CgroupOperation) -> tuple[str, ...]:
    if isinstance(operation, WriteMemoryLimits):
        return f"{operation.directory}/{_SWAP}", f"{operation.directory}/{_MEMORY}"
    if isinstance(operation, WriteCgroupFile):
        return (operation.path, *operation.instead[:1])
    return ()
