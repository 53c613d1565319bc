"""pyruntime update: other resource limits for a container, all of them or none."""

import os

from pyruntime.base.decode import decode, encode
from pyruntime.base.errors import HostError, StateError, UsageError
from pyruntime.base.jsonio import read_document
from pyruntime.execute.cgroup_update import update_limits
from pyruntime.execute.cgroups import read_value
from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile
from pyruntime.plan.cgroup.update import CurrentLimits, plan_update
from pyruntime.spec.linux import BlockIo, Cpu, Memory, Pids, Resources
from pyruntime.store.state import ContainerState
from pyruntime.store.status import STOPPED, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    Option(
        names=("resources", "r"), value=True, metavar="FILE", help="file of resources, - for standard input"
    ),
    Option(names=("blkio-weight",), value=True, metavar="N", help="weight of block IO, 10 to 1000"),
    Option(names=("cpu-period",), value=True, metavar="N", help="CPU period in microseconds"),
    Option(names=("cpu-quota",), value=True, metavar="N", help="CPU time in a period, in microseconds"),
    Option(
        names=("cpu-burst",), value=True, metavar="N", help="CPU time that may be saved up, in microseconds"
    ),
    Option(names=("cpu-share",), value=True, metavar="N", help="relative weight of CPU time"),
    Option(names=("cpu-rt-period",), value=True, metavar="N", help="realtime period in microseconds"),
    Option(names=("cpu-rt-runtime",), value=True, metavar="N", help="realtime CPU time in a period"),
    Option(names=("cpuset-cpus",), value=True, metavar="LIST", help="CPUs that may be used, such as 0-2,7"),
    Option(
        names=("cpuset-mems",), value=True, metavar="LIST", help="memory nodes that may be used, such as 0-1"
    ),
    Option(
        names=("memory",), value=True, metavar="SIZE", help="memory limit in bytes, or such as 512m; -1: none"
    ),
    Option(
        names=("memory-reservation",), value=True, metavar="SIZE", help="soft memory limit, written so too"
    ),
    Option(
        names=("memory-swap",),
        value=True,
        metavar="SIZE",
        help="limit of memory and swap together, written so too",
    ),
    Option(names=("kernel-memory",), value=True, metavar="N", help="obsolete"),
    Option(names=("kernel-memory-tcp",), value=True, metavar="N", help="obsolete"),
    Option(names=("cpu-idle",), value=True, metavar="N", help="1: run only when the CPU is idle"),
    Option(names=("pids-limit",), value=True, metavar="N", help="greatest number of processes; -1: no limit"),
    Option(names=("l3-cache-schema",), value=True, metavar="SCHEMA", help="schema of the L3 cache"),
    Option(names=("mem-bw-schema",), value=True, metavar="SCHEMA", help="schema of the memory bandwidth"),
)


_FACTORS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def run(arguments: Arguments, options: GlobalOptions) -> int:
    store, container_id = Store(options.root), arguments.positional[0]
    _load_driver(store, container_id)
    if arguments.given("kernel-memory") or arguments.given("kernel-memory-tcp"):
        options.warn("Kernel memory settings are ignored and will be removed")
    resources = read_resources(arguments)
    schemata = tuple(
        (name, arguments.get(name)) for name in ("l3-cache-schema", "mem-bw-schema") if arguments.get(name)
    )
    update_container(store, container_id, resources, schemata)
    return 0


def _load_driver(store: Store, container_id: str) -> None:
    """What speaks to systemd, if that is asked here: before standard input is read, which can be done only once."""
    if store.load(container_id).systemd_unit:
        from pyruntime.verbs.systemd_driver import load_systemd_driver

        load_systemd_driver()


def update_container(
    store: Store, container_id: str, resources: Resources, schemata: tuple[tuple[str, str], ...] = ()
) -> None:
    """Change the limits that `resources` names; `schemata` are (option, line) for the cache and bandwidth.

    Raises:
        StateError: there is no such container, or it has stopped.
        SpecError: a limit makes no sense here.
        StepError: the kernel refuses one; then none is changed.
    """
    _load_driver(store, container_id)
    with store.lock(container_id):
        state = store.load(container_id)
        if status_of(state, store.directory(container_id)) == STOPPED:
            raise StateError("container not running", where=container_id)
        operations = plan_update(
            resources,
            state.cgroup_paths,
            _current(state),
            unit=state.systemd_unit,
            of_user=state.systemd_of_user,
        )
        if schemata:
            operations += _schemata(store, container_id, schemata)
        update_limits(operations)


def read_resources(arguments: Arguments) -> Resources:
    """The resources from --resources, or from the options for single limits.

    Raises:
        UsageError: a value is not a number or a size.
        SpecError: the file is not a linux.resources.
    """
    path = arguments.get("resources")
    if path:
        return decode(Resources, read_document(path))
    cpu = Cpu(
        shares=_number(arguments, "cpu-share"),
        quota=_number(arguments, "cpu-quota"),
        burst=_number(arguments, "cpu-burst"),
        period=_number(arguments, "cpu-period"),
        realtime_runtime=_number(arguments, "cpu-rt-runtime"),
        realtime_period=_number(arguments, "cpu-rt-period"),
        cpus=arguments.get("cpuset-cpus"),
        mems=arguments.get("cpuset-mems"),
        idle=_number(arguments, "cpu-idle"),
    )
    memory = Memory(
        limit=_size(arguments, "memory"),
        reservation=_size(arguments, "memory-reservation"),
        swap=_size(arguments, "memory-swap"),
        # runc asks for this check with every update from the command line.
        check_before_update=True if arguments.get("memory") else None,
    )
    limit, weight = _number(arguments, "pids-limit"), _number(arguments, "blkio-weight")
    resources = Resources(
        cpu=None if cpu == Cpu() else cpu,
        memory=None if memory == Memory() else memory,
        pids=None if limit is None else Pids(limit=limit),
        block_io=None if weight is None else BlockIo(weight=weight),
    )
    # The decoder knows the ranges: of a number that is too large the kernel may take what fits.
    return decode(Resources, encode(resources))


def _number(arguments: Arguments, name: str) -> int | None:
    text = arguments.get(name)
    if not text:
        return None
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit():
        raise UsageError(f"invalid value for {name}: {text}", hint="write a whole number")
    return int(text)


def _size(arguments: Arguments, name: str) -> int | None:
    """Bytes, written as a number with or without k, m, g, t (powers of 1024), or -1 for no limit."""
    text = arguments.get(name)
    if not text:
        return None
    if text == "-1":
        return -1
    digits = text.lower().removesuffix("b").removesuffix("i").rstrip(" ")
    factor = 1
    if digits[-1:] in _FACTORS:
        factor, digits = _FACTORS[digits[-1]], digits[:-1].rstrip(" ")
    whole, dot, fraction = digits.partition(".")
    if not whole.isascii() or not whole.isdigit() or (dot and not fraction.isdigit()):
        raise UsageError(f"invalid value for {name}: invalid size: '{text}'", hint="such as 512m, 2g or -1")
    return int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if dot else 0)


def _current(state: ContainerState) -> CurrentLimits:
    unified = state.cgroup_paths.get("", "")
    if set(state.cgroup_paths) == {""}:
        return CurrentLimits(
            cpu_max=read_value(f"{unified}/cpu.max"),
            memory_limit=read_value(f"{unified}/memory.max"),
            memory_usage=read_value(f"{unified}/memory.current"),
        )
    memory, cpu = state.cgroup_paths.get("memory", ""), state.cgroup_paths.get("cpu", "")
    return CurrentLimits(
        cpu_max=f"{read_value(f'{cpu}/cpu.cfs_quota_us')} {read_value(f'{cpu}/cpu.cfs_period_us')}",
        memory_limit=read_value(f"{memory}/memory.limit_in_bytes"),
        memory_usage=read_value(f"{memory}/memory.usage_in_bytes"),
    )


def _schemata(
    store: Store, container_id: str, schemata: tuple[tuple[str, str], ...]
) -> tuple[CgroupOperation, ...]:
    """Writes of the container's resctrl group (config-linux.md, "IntelRdt")."""
    from pyruntime.host.mounts import mount_point_of
    from pyruntime.spec.load import decode_config

    names = {
        "l3-cache-schema": "Intel RDT/CAT: l3 cache schema",
        "mem-bw-schema": "Intel RDT/MBA: memory bandwidth schema",
    }
    linux = decode_config(store.load_config_text(container_id)).linux
    group = (
        (linux.intel_rdt.clos_id or container_id)
        if linux is not None and linux.intel_rdt is not None
        else container_id
    )
    mount_point = mount_point_of("resctrl")
    directory = f"{mount_point}/{group}"
    if not mount_point or not os.path.isdir(directory):
        hint = "it needs a mounted resctrl file system and linux.intelRdt in the container's config"
        raise HostError(f"{names[schemata[0][0]]} is not enabled", hint=hint)
    return tuple(
        WriteCgroupFile(origin=f"--{name}", path=f"{directory}/schemata", value=line)
        for name, line in schemata
    )
