"""What the parent does to cgroups, as data: each operation knows its config entry and describes itself."""

from pyruntime.base.record import Record

INFINITY = (1 << 64) - 1  # as systemd has it: no limit


class CgroupOperation(Record):
    """One step on the host's cgroup file systems."""

    origin: str = ""

    def describe(self) -> str:
        raise AssertionError(f"{type(self).__name__} does not describe itself")

    def lines(self) -> tuple[tuple[str, str], ...]:
        """What `explain` prints: lines and the config entries behind them."""
        return ((self.describe(), self.origin),)


class MakeCgroup(CgroupOperation):
    """mkdir -p `path` below `mount_point`; `controllers` are enabled in every parent (v2), from the top.

    `unified`: it is one of v2.  `in_use`: systemd has put the executor there already.  `domain_limit`: the config
    entry that needs a controller which a threaded cgroup cannot have, if there is one.
    """

    path: str
    mount_point: str
    controllers: tuple[str, ...] = ()
    unified: bool = False
    in_use: bool = False
    domain_limit: str = ""

    def describe(self) -> str:
        return f"make the cgroup {self.path}"


class FillCpuset(CgroupOperation):
    """Fill empty cpuset.cpus and cpuset.mems from the parents, top-down: a v1 cpuset starts without any."""

    path: str
    mount_point: str

    def describe(self) -> str:
        return f"fill the cpuset of {self.path} from its parents"


class WriteCgroupFile(CgroupOperation):
    """Write `value` to `path`.

    `missing_ok`: a file that the kernel does not have is skipped.
    `instead`: another (path, value) to be written when the file is missing, e.g. io.weight for io.bfq.weight.
    """

    path: str
    value: str
    missing_ok: bool = False
    instead: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"cgroup {self.path.rsplit('/', 1)[-1]} = {self.value}"


class WriteCgroupValues(CgroupOperation):
    """Write each of `values` to `path`, which takes one at a time."""

    path: str
    values: tuple[str, ...]

    def describe(self) -> str:
        return f"cgroup {self.path.rsplit('/', 1)[-1]} = {', '.join(self.values)}"

    def lines(self) -> tuple[tuple[str, str], ...]:
        name = self.path.rsplit("/", 1)[-1]
        return tuple((f"cgroup {name} = {value}", self.origin) for value in self.values)


class WriteMemoryLimits(CgroupOperation):
    """v1: write limit and limit plus swap in the order that the kernel accepts.

    The limit must never exceed limit plus swap, so raising writes swap first and lowering last.
    """

    directory: str
    limit: str
    swap: str

    def describe(self) -> str:
        return f"cgroup memory.limit_in_bytes = {self.limit}, memory.memsw.limit_in_bytes = {self.swap}"


class UnitProperty(Record):
    """One property of a systemd unit: its D-Bus signature and a value that fits it."""

    origin: str = ""
    name: str
    signature: str
    value: object  # as D-Bus libraries take them: arrays are lists, structures tuples

    def describe(self) -> str:
        return f"systemd property {self.name} = {_shown(self.value)}"


class UnitOperation(CgroupOperation):
    """One step that systemd takes: `of_user` asks the user's systemd instead of the system's."""

    unit: str
    of_user: bool = False
    properties: tuple[UnitProperty, ...] = ()

    def lines(self) -> tuple[tuple[str, str], ...]:
        return (
            (self.describe(), self.origin),
            *((each.describe(), each.origin) for each in self.properties),
        )

    def _whose(self) -> str:
        return "the user's systemd" if self.of_user else "systemd"


class StartUnit(UnitOperation):
    """Start a transient unit.

    `with_process`: the executor is its first process, as a scope needs one; a slice has none of its own.
    `directories` are where its cgroups are to be, `sub_cgroup` the one of v2 below the unit's that the
    executor is moved into.
    """

    with_process: bool = True
    directories: tuple[str, ...] = ()
    sub_cgroup: str = ""

    def describe(self) -> str:
        return f"have {self._whose()} start {self.unit}"

    def lines(self) -> tuple[tuple[str, str], ...]:
        if not self.sub_cgroup:
            return super().lines()
        return (*super().lines(), (f"move into the cgroup {self.sub_cgroup}", self.origin))


class SetUnitProperties(UnitOperation):
    """Give properties of a unit other values, until the unit ends."""

    def describe(self) -> str:
        return f"have {self._whose()} change {self.unit}"


class OwnCgroup(CgroupOperation):
    """Hand a v2 cgroup to the user that the container runs as; `tolerant` without the right to do so."""

    path: str
    user: int
    tolerant: bool = False

    def describe(self) -> str:
        return f"give the cgroup {self.path} to user {self.user}"


def _shown(value: object) -> str:
    if value == INFINITY:
        return "infinity"
    if isinstance(value, bytes):
        return value.hex(" ")
    if isinstance(value, list):
        return ", ".join(" ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    return str(value)
