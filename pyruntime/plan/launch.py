"""The order of everything: a config becomes the plan of a container, or of one more process in it."""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.plan.cgroup import CgroupPlan, plan_cgroup
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.cpu_list import cpu_mask
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.identity import (
    final_environment,
    plan_apparmor,
    plan_identity,
    plan_key_label,
    plan_rlimits,
    plan_scheduling,
    plan_selinux,
)
from pyruntime.plan.idmap import id_map_text
from pyruntime.plan.init import plan_console, plan_container_hooks, plan_execution_domain, plan_init
from pyruntime.plan.mounts import plan_mounts
from pyruntime.plan.namespaces import (
    early_namespaces,
    plan_cgroup_namespace,
    plan_early_namespaces,
    plan_namespaces,
    sees_the_host,
)
from pyruntime.plan.net_devices import MoveDevice, plan_net_devices
from pyruntime.plan.operations import (
    CGROUPS_JOINED,
    CGROUPS_READY,
    CLONE_CGROUP_READY,
    PROCEED,
    READY,
    AttachDeviceProgram,
    Await,
    AwaitStart,
    BecomeRoot,
    Clone,
    CloseInherited,
    CloseOwn,
    Execute,
    JoinCgroup,
    JoinKeyring,
    JoinProcess,
    LoadSeccomp,
    NewSession,
    NoNewPrivileges,
    OpenDescriptor,
    OpenPath,
    Operation,
    ResetAffinity,
    SetAffinity,
    SetDumpable,
    SetOomScore,
    SetRlimit,
    SetUmask,
    Tell,
)
from pyruntime.plan.options import LaunchOptions
from pyruntime.plan.resctrl import ResctrlPlan, plan_resctrl
from pyruntime.plan.seccomp import FilterRequest, plan_filter
from pyruntime.plan.view import ContainerView, read_namespaces
from pyruntime.spec.annotations import KEEP_GROUPS, STRICT_SECCOMP
from pyruntime.spec.config import Config, Hooks, Process
from pyruntime.spec.linux import Linux

CGROUP_SLOT = 0
_NEW_USER = 0x10000000
_NEW_CGROUP = 0x02000000
_WRITE = 1
_READ_AND_WRITE = 2


class IdMaps(Record):
    """The maps of a new user namespace, as text for /proc/PID/uid_map and gid_map."""

    uid_map: str
    gid_map: str

    def describe(self) -> str:
        return f"write the id maps {' '.join(self.uid_map.split())} / {' '.join(self.gid_map.split())}"


class HostHook(Record):
    """A hook that the parent runs, named as in config.json, with its index there."""

    origin: str
    name: str
    index: int
    path: str

    def describe(self) -> str:
        return f"run the {self.name} hook #{self.index} {self.path}"


class LaunchPlan(Record):
    """A plan: what the executor does (`operations`) and what the parent does meanwhile.

    `rlimits` are those that the parent sets: a process in a user namespace may not raise its own.
    `joins_late`: the container's init joins the cgroups of v1, and tells so; else whoever clones it has.
    """

    operations: tuple[Operation, ...]
    cgroup: CgroupPlan
    id_maps: IdMaps | None = None
    rlimits: tuple[SetRlimit, ...] = ()
    filter: FilterRequest | None = None
    net_devices: tuple[MoveDevice, ...] = ()
    resctrl: ResctrlPlan | None = None
    host_hooks: tuple[HostHook, ...] = ()
    namespaces: int = 0
    joins_late: bool = False


def plan_create(
    config: Config,
    container_id: str,
    bundle: str,
    facts: HostFacts,
    layout: CgroupLayout,
    options: LaunchOptions | None = None,
    front: tuple[Operation, ...] | None = None,
) -> LaunchPlan:
    """Plan a new container.  Pure: asks nothing of the machine but what `facts` and `layout` say.

    `front`: what `plan_create_front` says, if that has been asked already.

    Raises:
        SpecError: the config asks for something that makes no sense or is not supported.
    """
    options = options or LaunchOptions()
    process = _process_of(config)
    created, joined = read_namespaces(config)
    manager = options.cgroup_manager
    cgroup = plan_cgroup(config, layout, container_id, rootless=facts.rootless, cgroup_manager=manager)
    view = ContainerView(
        config=config,
        container_id=container_id,
        bundle=bundle,
        facts=facts,
        cgroup_layout=layout,
        cgroup_paths=cgroup.paths,
        created=created,
        joined=joined,
    )
    (request, load), mounts = _plan_seccomp(config, options), plan_mounts(view)
    operations = [*(front or plan_create_front(config, facts, options))]
    operations += [*_plan_preparation(process, facts, options), *mounts.prepare]
    entry, joins = _plan_entry(view, cgroup)
    operations += [*entry, *plan_init(view, mounts, joins, options)]
    own, parents = _plan_limits(process, view.namespaces)
    operations += [*_plan_end(config, process, facts, load, own), *_plan_start(view, process, options)]
    return LaunchPlan(
        operations=tuple(operations),
        cgroup=cgroup,
        id_maps=_plan_id_maps(config) if created & _NEW_USER else None,
        rlimits=parents,
        filter=request,
        net_devices=plan_net_devices(view),
        host_hooks=_plan_host_hooks(config.hooks or Hooks()),
        resctrl=plan_resctrl((config.linux or Linux()).intel_rdt, container_id, facts.resctrl),
        namespaces=view.namespaces,
        joins_late=bool(joins),
    )


def plan_exec(
    config: Config,
    process: Process,
    container_id: str,
    namespaces: int,
    facts: HostFacts,
    cgroup: CgroupPlan,
    options: LaunchOptions,
    front: tuple[Operation, ...] | None = None,
) -> LaunchPlan:
    """Plan one more process in a running container.

    `namespaces` are those of the container that differ from the runtime's; `options.init_fd` is a pidfd of its
    init.  `front` is what `plan_exec_front` says, if that has been asked already.
    """
    request, load = _plan_seccomp(config, options)
    operations = [*(front or plan_exec_front(process, namespaces, facts, cgroup, options))]
    if namespaces & _NEW_USER:
        operations.append(BecomeRoot())
    operations.append(NewSession())
    if not options.no_new_keyring:
        operations += plan_key_label(process, facts)
        operations.append(JoinKeyring(name=f"_ses.{container_id}", permissions=0))
    if process.terminal:
        operations.append(plan_console(process, options, bind=0))
    operations += plan_apparmor(process, facts)
    operations += plan_execution_domain(config.linux or Linux())
    own, parents = _plan_limits(process, namespaces)
    operations += _plan_end(config, process, facts, load, own)
    operations.append(_plan_execute(process, options))
    return LaunchPlan(
        operations=tuple(operations),
        cgroup=cgroup,
        rlimits=parents,
        filter=request,
        namespaces=namespaces,
    )


def _plan_host_hooks(hooks: Hooks) -> tuple[HostHook, ...]:
    lists = (
        ("prestart", hooks.prestart),
        ("createRuntime", hooks.create_runtime),
        ("poststart", hooks.poststart),
    )
    return tuple(
        HostHook(origin=f"/hooks/{name}/{index}", name=name, index=index, path=hook.path)
        for name, entries in lists
        for index, hook in enumerate(entries)
    )


def plan_create_front(config: Config, facts: HostFacts, options: LaunchOptions) -> tuple[Operation, ...]:
    """What the plan of a new container begins with: it shows nowhere, and may begin before the rest is planned.

    A network namespace takes the kernel longer than all others together.
    """
    created, joined = read_namespaces(config)
    early = plan_early_namespaces(early_namespaces(created, joined, facts))
    return (CloseInherited(first=options.first_private), SetUmask(mask=0), *early)


def plan_exec_front(
    process: Process, namespaces: int, facts: HostFacts, cgroup: CgroupPlan, options: LaunchOptions
) -> tuple[Operation, ...]:
    """What the plan of one more process begins with: the way into the container.

    It may begin before the rest is planned, unless it waits for a unit that the process is to be attached to
    (`cgroup.attach`).
    """
    return (
        CloseInherited(first=options.first_private),
        SetUmask(mask=0),
        *_plan_preparation(process, facts, options),
        # A process of the container must not be able to look into this one once it is in its pid namespace.
        SetDumpable(dumpable=0),
        *_plan_exec_entry(process, cgroup, namespaces, options),
    )


def _plan_preparation(process: Process, facts: HostFacts, options: LaunchOptions) -> list[Operation]:
    """What needs the host's paths and rights."""
    operations: list[Operation] = []
    if options.fifo_path:
        operations += [
            OpenDescriptor(descriptor_fd=options.fifo_fd, host_path=options.fifo_path, flags=_READ_AND_WRITE),
            OpenDescriptor(descriptor_fd=options.failure_fd, host_path=options.failure_path, flags=_WRITE),
        ]
    if process.oom_score_adj is not None:
        tolerant = 1 if facts.rootless else 0
        operations.append(
            SetOomScore(origin="/process/oomScoreAdj", score=process.oom_score_adj, tolerant=tolerant)
        )
    return operations


def _plan_exec_entry(
    process: Process, cgroup: CgroupPlan, namespaces: int, options: LaunchOptions
) -> list[Operation]:
    """Into the container's cgroups and namespaces, on the CPUs that execCPUAffinity names before and after that."""
    operations: list[Operation] = []
    affinity = process.exec_cpu_affinity
    where = "/process/execCPUAffinity"
    if affinity is not None and affinity.initial:
        mask = cpu_mask(affinity.initial, f"{where}/initial")
        operations.append(SetAffinity(origin=f"{where}/initial", cpus=mask))
    if cgroup.attach:
        operations.append(Await(rendezvous=CGROUPS_READY))
    operations += [JoinCgroup(host_path=path) for path in cgroup.join_files]
    operations += _plan_joins(cgroup, namespaces, options)
    if affinity is not None and affinity.final:
        operations.append(
            SetAffinity(origin=f"{where}/final", cpus=cpu_mask(affinity.final, f"{where}/final"))
        )
    elif affinity is None or not affinity.initial:
        operations.append(ResetAffinity())
    return operations


def _plan_start(view: ContainerView, process: Process, options: LaunchOptions) -> list[Operation]:
    gate = (
        [AwaitStart(fifo_fd=options.fifo_fd, failure_fd=options.failure_fd)]
        if options.waits_for_start
        else []
    )
    hooks = plan_container_hooks(view, options, "startContainer", "created")
    return [*gate, *hooks, _plan_execute(process, options)]


def _plan_limits(process: Process, namespaces: int) -> tuple[tuple[SetRlimit, ...], tuple[SetRlimit, ...]]:
    """The resource limits that the process sets itself, and those that the parent sets for it."""
    limits = tuple(plan_rlimits(process))
    return ((), limits) if namespaces & _NEW_USER else (limits, ())


def _plan_joins(cgroup: CgroupPlan, namespaces: int, options: LaunchOptions) -> list[Operation]:
    """Into a cgroup of v2, and into namespaces.  A process is cloned into either, and one clone can do both.

    Not so with a user namespace: whoever is in there may not write to the cgroup.  And not from a cgroup namespace,
    outside of which the process still is.
    """
    if not cgroup.clone_directory:
        joins = [JoinProcess(pidfd_fd=options.init_fd, flags=namespaces)] if namespaces else []
        return [*joins, Clone(flags=0)]
    opened = OpenPath(slot=CGROUP_SLOT, host_path=cgroup.clone_directory)
    entered = Clone(flags=0, cgroup_slot=CGROUP_SLOT)
    if namespaces & _NEW_USER:
        return [opened, entered, JoinProcess(pidfd_fd=options.init_fd, flags=namespaces), Clone(flags=0)]
    before, after = namespaces & ~_NEW_CGROUP, namespaces & _NEW_CGROUP
    return [
        opened,
        *([JoinProcess(pidfd_fd=options.init_fd, flags=before)] if before else []),
        entered,
        *([JoinProcess(pidfd_fd=options.init_fd, flags=after)] if after else []),
    ]


def _plan_end(
    config: Config,
    process: Process,
    facts: HostFacts,
    load: LoadSeccomp | None,
    limits: tuple[SetRlimit, ...],
) -> list[Operation]:
    """The last steps of every plan before the program: the parent saves the state in their middle."""
    return [
        *_plan_process(process, facts, load),
        Tell(rendezvous=READY),
        Await(rendezvous=PROCEED),
        *limits,
        *plan_selinux(process, facts),
        CloseOwn(),
        *plan_identity(process, facts, load, keep_groups=KEEP_GROUPS in config.annotations),
    ]


def _process_of(config: Config) -> Process:
    if config.process is None:
        hint = 'add a "process" with "args" and "cwd": the container is made for it'
        raise SpecError("config has no process", where="/process", hint=hint)
    return config.process


def _plan_seccomp(config: Config, options: LaunchOptions) -> tuple[FilterRequest | None, LoadSeccomp | None]:
    """The filter asked for and the step that loads it; the program itself is compiled when the plan is carried out."""
    profile = config.linux.seccomp if config.linux is not None else None
    if profile is None:
        return None, None
    request = plan_filter(profile, strict=STRICT_SECCOMP in config.annotations)
    return request, LoadSeccomp(
        origin="/linux/seccomp",
        program=b"",
        flags=0,
        listener_fd=options.listener_fd if request.notifies else -1,
    )


def _plan_entry(view: ContainerView, cgroup: CgroupPlan) -> tuple[list[Operation], list[Operation]]:
    """Into cgroups and namespaces; and what the container's init is to do of it after its first mounts.

    To make twelve cgroups takes as long as to clone into new namespaces and to mount what every container has.  So
    where it can, the init begins meanwhile, and joins them itself.
    """
    cgroup_slot = CGROUP_SLOT if cgroup.clone_directory else -1
    if not cgroup.join_files or cgroup.unit or not sees_the_host(view):
        entry = [*plan_cgroup_entry(cgroup), *plan_namespaces(view, cgroup_slot=cgroup_slot)]
        return [*entry, *plan_cgroup_namespace(view)], []
    operations: list[Operation] = []
    if cgroup.clone_directory:
        operations = [Await(rendezvous=CLONE_CGROUP_READY), *_plan_clone_cgroup(cgroup)]
    operations += plan_namespaces(view, cgroup_slot=cgroup_slot)
    joins = [Await(rendezvous=CGROUPS_READY), *_plan_cgroup_joins(cgroup)]
    return operations, [*joins, *plan_cgroup_namespace(view), Tell(rendezvous=CGROUPS_JOINED)]


def plan_cgroup_entry(cgroup: CgroupPlan) -> list[Operation]:
    """Into the cgroups without a foreign write to cgroup.procs, which would wait for an RCU grace period."""
    return [Await(rendezvous=CGROUPS_READY), *_plan_cgroup_joins(cgroup), *_plan_clone_cgroup(cgroup)]


def _plan_cgroup_joins(cgroup: CgroupPlan) -> list[Operation]:
    return [JoinCgroup(origin="/linux/cgroupsPath", host_path=path) for path in cgroup.join_files]


def _plan_clone_cgroup(cgroup: CgroupPlan) -> list[Operation]:
    """The cgroup of v2 that is cloned into, with its device policy."""
    if not cgroup.clone_directory:
        return []
    where, program = cgroup.clone_directory, cgroup.device_program
    policy = AttachDeviceProgram(origin="/linux/resources/devices", host_path=where, program=program)
    return [*([policy] if program else []), OpenPath(slot=CGROUP_SLOT, host_path=where)]


def _plan_id_maps(config: Config) -> IdMaps:
    linux = config.linux
    if linux is None or not linux.uid_mappings or not linux.gid_mappings:
        hint = 'add "uidMappings" and "gidMappings", each with containerID, hostID and size'
        raise SpecError("user namespace without id mappings", where="/linux/uidMappings", hint=hint)
    return IdMaps(uid_map=id_map_text(linux.uid_mappings), gid_map=id_map_text(linux.gid_mappings))


def _plan_process(process: Process, facts: HostFacts, load: LoadSeccomp | None) -> list[Operation]:
    operations: list[Operation] = []
    # Without CAP_SYS_ADMIN over this user namespace the kernel takes a filter only under no_new_privs.
    if process.no_new_privileges or (load is not None and facts.user_id != 0 and not facts.in_user_namespace):
        operations.append(NoNewPrivileges(origin="/process/noNewPrivileges"))
    operations += plan_scheduling(process)
    return operations


def _plan_execute(process: Process, options: LaunchOptions) -> Execute:
    environment = final_environment(process)
    if options.listen_fds:
        environment += (f"LISTEN_FDS={options.listen_fds}", "LISTEN_PID=1")
    return Execute(origin="/process/args", arguments=process.args, environment=environment)
