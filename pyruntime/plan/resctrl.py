"""`linux.intelRdt`: the container's share of caches and memory bandwidth, as a group of the resctrl file system.

Source: config-linux.md, "IntelRdt"; kernel, Documentation/filesystems/resctrl.rst.
"""

from pyruntime.base.errors import HostError, SpecError
from pyruntime.base.record import Record
from pyruntime.spec.linux import IntelRdt

_ORIGIN = "/linux/intelRdt"
_KERNELS_OWN = ("info", "mon_data", "mon_groups")

OWN = "own"
KEPT = "kept"
GIVEN = "given"


class ResctrlPlan(Record):
    """A group for a container.

    `directory`: the group.  `kind`: OWN is made and removed with the container, KEPT is made if it is missing and
    stays, GIVEN must be there.  `schemata`: lines that the group is to have, none to leave it as it is.
    `monitor`: the container's own monitoring group in it, or "".
    """

    directory: str
    kind: str
    schemata: tuple[str, ...] = ()
    monitor: str = ""

    @property
    def joined(self) -> tuple[str, ...]:
        """The directories whose `tasks` every process of the container is written to."""
        return (self.directory, self.monitor) if self.monitor else (self.directory,)

    @property
    def removed(self) -> tuple[str, ...]:
        """The directories that go with the container, the inner one first."""
        return (*filter(None, [self.monitor]), *([self.directory] if self.kind == OWN else []))

    def describe(self) -> str:
        lines = f" with {'; '.join(self.schemata)}" if self.schemata else ""
        monitor = ", monitored by itself" if self.monitor else ""
        return f"join the resctrl group {self.directory}{lines}{monitor}"


def plan_resctrl(wanted: IntelRdt | None, container_id: str, mount_point: str) -> ResctrlPlan | None:
    """The group of a container; `mount_point` is where resctrl is mounted, "" for nowhere.

    Raises:
        HostError: it is mounted nowhere.
        SpecError: the group would be one of the kernel's own directories.
    """
    if wanted is None:
        return None
    if not mount_point:
        hint = "on a machine that can do it: mount -t resctrl resctrl /sys/fs/resctrl"
        what = "intelRdt is specified in config, but Intel RDT is not supported or enabled"
        raise HostError(what, where=_ORIGIN, hint=hint)
    group = wanted.clos_id or container_id
    if group in _KERNELS_OWN:
        hint = "set closID to another name"
        raise SpecError(f"{group!r} is no name for a resctrl group", where=f"{_ORIGIN}/closID", hint=hint)
    directory = mount_point if group == "/" else f"{mount_point.rstrip('/')}/{group}"
    schemata = _schemata(wanted)
    return ResctrlPlan(
        directory=directory,
        kind=OWN if not wanted.clos_id else KEPT if schemata else GIVEN,
        schemata=schemata,
        monitor=f"{directory}/mon_groups/{container_id}" if wanted.enable_monitoring else "",
    )


def _schemata(wanted: IntelRdt) -> tuple[str, ...]:
    """All lines in the order that the specification demands; memBwSchema replaces what l3CacheSchema says of MB."""
    cache = wanted.l3_cache_schema.split("\n")
    if wanted.mem_bw_schema:
        cache = [line for line in cache if not line.startswith("MB:")]
    return tuple(filter(None, [*cache, wanted.mem_bw_schema, *wanted.schemata]))
