"""What the parent does to cgroups, as data: each operation knows its config entry and describes itself."""

from pyruntime.base.record import Record


class CgroupOperation(Record):
    """One step on the host's cgroup file systems."""

    origin: str = ""

    def describe(self) -> str:
        raise AssertionError(f"{type(self).__name__} does not describe itself")


class MakeCgroup(CgroupOperation):
    """mkdir -p `path` below `mount_point`; `controllers` are enabled in every parent (v2), from the top."""

    path: str
    mount_point: str
    controllers: tuple[str, ...] = ()

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


class WriteMemoryLimits(CgroupOperation):
    """v1: write limit and limit plus swap in the order that the kernel accepts.

    The limit must never exceed limit plus swap, so raising writes swap first and lowering last.
    """

    directory: str
    limit: str
    swap: str

    def describe(self) -> str:
        return f"cgroup memory.limit_in_bytes = {self.limit}, memory.memsw.limit_in_bytes = {self.swap}"
