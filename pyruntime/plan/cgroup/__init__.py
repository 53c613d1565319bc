"""cgroups: where the container goes and what is limited there.  Pure; `execute.cgroups` carries it out."""

from pyruntime.base.errors import SpecError
from pyruntime.base.paths import clean_path
from pyruntime.base.record import Record
from pyruntime.plan.cgroup.block_io import plan_block_io
from pyruntime.plan.cgroup.cpu import plan_cpu, plan_cpuset
from pyruntime.plan.cgroup.delegation import cgroup_owner, domain_limit
from pyruntime.plan.cgroup.devices import device_program, device_rules, plan_devices_v1
from pyruntime.plan.cgroup.layout import CgroupLayout, Hierarchy
from pyruntime.plan.cgroup.memory import plan_memory
from pyruntime.plan.cgroup.operations import (
    CgroupOperation,
    FillCpuset,
    MakeCgroup,
    OwnCgroup,
    SetUnitProperties,
    StartUnit,
)
from pyruntime.plan.cgroup.others import plan_hugetlb, plan_network, plan_pids, plan_rdma, plan_unified
from pyruntime.spec.config import Config
from pyruntime.spec.linux import Resources

_PATH = "/linux/cgroupsPath"


class CgroupPlan(Record):
    """The cgroups of one container.

    `directories`: one in each hierarchy, host paths. `make` runs before the process enters them: first the cgroup that
    it is cloned into, at the end the device policy of v1; `limits` once it is inside. `join_files`: what the executor
    writes 0 into (v1). `clone_directory`: the v2 cgroup to be cloned into. `device_program`: eBPF instructions of the
    v2 device policy.
    `paths`: controller ("" for v2) to directory. `optional`: without the right to make cgroups, and without limits,
    the container goes without. `unit`: the systemd unit that holds them, "" without that driver; `unit_of_user`: of
    the user's own systemd. `attach`: where below the unit's cgroup systemd is to move the executor first, "" if
    that goes by itself.
    """

    directories: tuple[str, ...] = ()
    make: tuple[CgroupOperation, ...] = ()
    join_files: tuple[str, ...] = ()
    clone_directory: str = ""
    limits: tuple[CgroupOperation, ...] = ()
    device_program: bytes = b""
    paths: dict[str, str] = {}
    optional: bool = False
    unit: str = ""
    unit_of_user: bool = False
    attach: str = ""


_LIMITS = (
    ("memory", plan_memory),
    ("cpu", plan_cpu),
    ("cpuset", plan_cpuset),
    ("pids", plan_pids),
    ("block_io", plan_block_io),
    ("hugepage_limits", plan_hugetlb),
    ("network", plan_network),
    ("rdma", plan_rdma),
    ("unified", plan_unified),
)


def plan_cgroup(
    config: Config,
    layout: CgroupLayout,
    container_id: str,
    *,
    rootless: bool,
    cgroup_manager: str = "cgroupfs",
) -> CgroupPlan:
    """Plan the cgroups of a container.

    Raises:
        SpecError: a limit needs a controller that is not mounted, or makes no sense.

    Source: config-linux.md, "Control groups".
    """
    if cgroup_manager == "disabled" or layout.mode == "none":
        _refuse_limits(
            config, "cgroups are disabled" if layout.mode != "none" else "no cgroup hierarchy is mounted"
        )
        return CgroupPlan(optional=True)
    resources = _resources(config)
    if cgroup_manager == "systemd":
        return _plan_in_unit(config, layout, container_id, rootless=rootless)
    if rootless and resources.replace(devices=()) == Resources() and not _asked_path(config):
        # Without rights over cgroups and without a wish for limits the container stays where its caller is.
        return CgroupPlan(optional=True)
    places = _Places(layout)
    for hierarchy in layout.hierarchies:
        places.add(hierarchy, cgroup_directory(config, hierarchy, container_id))
    places.delegate(config, tolerant=rootless)
    limits, program = _plan_resources(resources, places, rootless=rootless)
    return CgroupPlan(
        directories=tuple(dict.fromkeys(places.directories.values())),
        make=_clone_cgroup_first(places),
        join_files=tuple(places.joins),
        clone_directory=places.clone_directory,
        limits=limits,
        device_program=program,
        paths=places.directories,
    )


def _clone_cgroup_first(places: "_Places") -> tuple[CgroupOperation, ...]:
    """The container's init is cloned into that one, while the others are made."""
    steps = list(places.make)
    for index, step in enumerate(steps):
        if isinstance(step, MakeCgroup) and step.path == places.clone_directory:
            steps.insert(0, steps.pop(index))
            break
    return tuple(steps)


def _plan_in_unit(config: Config, layout: CgroupLayout, container_id: str, *, rootless: bool) -> CgroupPlan:
    """The same with a systemd unit around it: systemd knows each limit that it has a word for."""
    # Here and not above: this driver is not on the way of most containers.
    from pyruntime.plan.cgroup.unit import plan_unit, unit_properties
    from pyruntime.plan.cgroup.unit_limits import unit_devices, unit_limits

    unified = layout.mode == "v2"
    if rootless and not unified:
        hint = "boot the host with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or use cgroupfs"
        raise SpecError("the user's own systemd has cgroups under cgroup v2 only", where=_PATH, hint=hint)
    unit = plan_unit(config, layout, container_id, of_user=rootless)
    resources = _resources(config)
    places = _Places(layout, in_unit=not unit.is_slice)
    for hierarchy in layout.hierarchies:
        below = _inside(unit.path, hierarchy.mount_root)
        places.add(hierarchy, f"{hierarchy.mount_point}{below}{unit.sub_cgroup and '/' + unit.sub_cgroup}")
    places.delegate(config, tolerant=rootless)
    limits, program = _plan_resources(resources, places, rootless=rootless)
    properties = unit_properties(config, unit, container_id)
    if not rootless:
        properties += unit_devices(device_rules(resources), exact_elsewhere=unified)
    start = StartUnit(
        origin=_PATH,
        unit=unit.name,
        of_user=rootless,
        properties=properties,
        with_process=not unit.is_slice,
        directories=tuple(dict.fromkeys(places.directories.values())),
        sub_cgroup=places.clone_directory if unit.sub_cgroup else "",
    )
    changes = unit_limits(resources, unified=unified)
    if changes:
        change = SetUnitProperties(
            origin="/linux/resources", unit=unit.name, of_user=rootless, properties=changes
        )
        limits = (change, *limits)
    return CgroupPlan(
        directories=start.directories,
        make=(start, *places.make),
        join_files=tuple(places.joins),
        clone_directory=places.clone_directory,
        limits=limits,
        device_program=program,
        paths=places.directories,
        unit=unit.name,
        unit_of_user=rootless,
    )


def _plan_resources(
    resources: Resources, places: "_Places", *, rootless: bool
) -> tuple[tuple[CgroupOperation, ...], bytes]:
    """The writes for all limits, and the eBPF program of the device policy (v2)."""
    limits = plan_limits(resources, CgroupTarget(places.unified, places.directories))
    rules = () if rootless else device_rules(resources)
    if "devices" in places.directories and not rootless:
        # Before anybody is inside: between the first of these writes and the last even /dev/null is denied.
        places.make += plan_devices_v1(rules, places.directories["devices"])
    return tuple(limits), device_program(rules) if places.unified else b""


def plan_limits(resources: Resources, target: "CgroupTarget") -> list[CgroupOperation]:
    """The writes for all limits but the device policy.

    Raises:
        SpecError: a limit needs a controller that is not mounted, or makes no sense.
    """
    return [operation for _, planner in _LIMITS for operation in planner(resources, target)]


class _Places:
    """Where the container goes in each hierarchy, and how it gets there.

    `in_unit`: systemd puts its first process into the hierarchies that systemd has for itself.
    """

    def __init__(self, layout: CgroupLayout, *, in_unit: bool = False) -> None:
        self.layout = layout
        self.unified = layout.mode == "v2"
        self.in_unit = in_unit
        self.directories: dict[str, str] = {}
        self.make: list[CgroupOperation] = []
        self.joins: list[str] = []
        self.clone_directory = ""

    def add(self, hierarchy: Hierarchy, path: str) -> None:
        for controller in hierarchy.controllers if hierarchy.version == 1 else ("",):
            self.directories[controller] = path
        self.make.append(
            MakeCgroup(
                origin=_PATH,
                path=path,
                mount_point=hierarchy.mount_point,
                controllers=_to_enable(hierarchy, self.layout),
                unified=hierarchy.version == 2,
                in_use=self.in_unit,
            )
        )
        if hierarchy.version == 2:
            self.clone_directory = path
            return
        if "cpuset" in hierarchy.controllers:
            self.make.append(FillCpuset(path=path, mount_point=hierarchy.mount_point))
        if not self.in_unit or "name=systemd" not in hierarchy.controllers:
            self.joins.append(f"{path}/tasks")

    def delegate(self, config: Config, *, tolerant: bool) -> None:
        """Plan what only a v2 cgroup has: an owner, and limits that a threaded one cannot have."""
        if not self.unified:
            return
        limit = domain_limit(_resources(config))
        if limit:
            self.make = [
                step.replace(domain_limit=limit) if isinstance(step, MakeCgroup) else step
                for step in self.make
            ]
        owner = cgroup_owner(config)
        if owner > 0:
            self.make.append(
                OwnCgroup(origin=_PATH, path=self.clone_directory, user=owner, tolerant=tolerant)
            )


class CgroupTarget:
    """Where limits go: finds the directory of a controller, or explains that there is none."""

    def __init__(self, unified: bool, directories: dict[str, str]) -> None:
        self.unified = unified
        self._directories = directories

    def directory(self, controller: str, origin: str) -> str:
        """The container's cgroup that has this controller.

        Raises:
            SpecError: no mounted hierarchy has it.
        """
        directory = self._directories.get("" if self.unified else controller)
        if directory is None:
            hint = f"mount the cgroup controller {controller} on the host, or leave the limit out"
            raise SpecError(f"cgroup controller {controller} is not available", where=origin, hint=hint)
        return directory


def cgroup_directory(config: Config, hierarchy: Hierarchy, container_id: str) -> str:
    """The container's directory in one hierarchy.

    An absolute `cgroupsPath` counts from the mount point; a relative or missing one from the runtime's own
    cgroup (v1) or the parent of that (v2, where processes may only sit in leaves).

    Raises:
        SpecError: the path is of the systemd form.
    """
    asked = _asked_path(config)
    if asked.count(":") == 2 and not asked.startswith("/"):
        hint = "write it as a path, such as /pods/web, or use the systemd cgroup driver"
        what = f"cgroupsPath {asked!r} has the form slice:prefix:name of the systemd cgroup driver"
        raise SpecError(what, where=_PATH, hint=hint)
    own = _inside(hierarchy.own_path, hierarchy.mount_root)
    if hierarchy.version == 2:
        own = own.rpartition("/")[0]
    below = asked or container_id
    path = below if asked.startswith("/") else f"{own}/{below}"
    path = clean_path(path)
    if path == "/":
        hint = "name a cgroup of the container's own below the root"
        raise SpecError("cgroupsPath is the root of the hierarchy", where=_PATH, hint=hint)
    return f"{hierarchy.mount_point}{path}"


def _asked_path(config: Config) -> str:
    return config.linux.cgroups_path if config.linux is not None else ""


def _inside(path: str, mount_root: str) -> str:
    """A path in the hierarchy as seen below a mount that shows only `mount_root` of it."""
    if mount_root != "/" and (path + "/").startswith(mount_root + "/"):
        path = path[len(mount_root) :]
    return path.rstrip("/")


def _to_enable(hierarchy: Hierarchy, layout: CgroupLayout) -> tuple[str, ...]:
    if hierarchy.version == 1 or layout.mode != "v2":
        return ()
    wanted = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma")
    return tuple(controller for controller in wanted if controller in hierarchy.controllers)


def _resources(config: Config) -> Resources:
    found = config.linux.resources if config.linux is not None else None
    return found or Resources()


def _refuse_limits(config: Config, why: str) -> None:
    resources = _resources(config).replace(devices=())
    if resources != Resources():
        hint = "leave linux.resources out, or run where cgroups can be used"
        raise SpecError(f"limits cannot be set: {why}", where="/linux/resources", hint=hint)
