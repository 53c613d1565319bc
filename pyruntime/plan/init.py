"""The container's init: from its first step in the new namespaces to a finished root."""

from pyruntime.base.errors import SpecError
from pyruntime.base.jsonio import dumps
from pyruntime.plan.cpu_list import cpu_mask
from pyruntime.plan.devices import plan_devices
from pyruntime.plan.identity import plan_apparmor, plan_key_label
from pyruntime.plan.mount_options import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, PROPAGATION
from pyruntime.plan.mounts import MountPlan
from pyruntime.plan.namespaces import early_namespaces
from pyruntime.plan.operations import (
    HOOKS_DONE,
    HOOKS_WANTED,
    Await,
    BindRoot,
    ChangeDirectory,
    ChangeRoot,
    JoinKeyring,
    MakeDirectory,
    MakeParentPrivate,
    MaskPath,
    MoveRoot,
    NewSession,
    OpenConsole,
    Operation,
    PivotRoot,
    RaiseLoopback,
    ReadonlyPath,
    RemountRootReadonly,
    ReopenNullStdio,
    ResetAffinity,
    RunHook,
    SetDomainname,
    SetHostname,
    SetHostPropagation,
    SetMemoryPolicy,
    SetPersonality,
    SetRootPropagation,
    SetSysctl,
    Tell,
)
from pyruntime.plan.options import LaunchOptions
from pyruntime.plan.view import ContainerView
from pyruntime.spec.config import Config, Process
from pyruntime.spec.linux import Linux

_KEY_SEARCH_BY_USER = 0x80000  # KEY_USR_SEARCH
_KEY_SEARCH_BY_OTHER = 0x8  # KEY_OTH_SEARCH: in a user namespace the owner is seen as somebody else
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


def plan_init(
    view: ContainerView, mounts: MountPlan, joins: list[Operation], options: LaunchOptions
) -> list[Operation]:
    """Everything between the clone and the identity of the process, in runc's order.

    `joins`: into the cgroups, as soon as these matter.
    """
    process = view.config.process
    assert process is not None, "plan_create refuses a config without process"
    linux = view.config.linux or Linux()
    return [
        *_plan_session(view, options),
        *_plan_root(view, linux),
        *mounts.mounts[: mounts.without_cgroups],
        *joins,
        *mounts.mounts[mounts.without_cgroups :],
        *plan_devices(view),
        Tell(rendezvous=HOOKS_WANTED),
        Await(rendezvous=HOOKS_DONE),
        *plan_container_hooks(view, options, "createContainer", "created"),
        *_plan_root_change(view, linux, options),
        MakeDirectory(origin="/process/cwd", path=process.cwd),
        plan_console(process, options, bind=1) if process.terminal else ReopenNullStdio(),
        *mounts.finish,
        *_plan_names(view.config),
        *plan_apparmor(process, view.facts),
        *_plan_kernel_view(linux),
        *plan_execution_domain(linux),
    ]


def _plan_session(view: ContainerView, options: LaunchOptions) -> list[Operation]:
    """What separates the process from its caller."""
    operations: list[Operation] = [NewSession()]
    if not options.no_new_keyring:
        permissions = _KEY_SEARCH_BY_OTHER if view.has_user_namespace else _KEY_SEARCH_BY_USER
        operations += plan_key_label(view.config.process, view.facts)
        operations.append(JoinKeyring(name=f"_ses.{view.container_id}", permissions=permissions))
    operations.append(ResetAffinity())
    if view.makes_namespace("network") and not early_namespaces(view.created, view.joined, view.facts):
        operations.append(RaiseLoopback(origin="/linux/namespaces"))
    return operations


def plan_console(process: Process, options: LaunchOptions, *, bind: int) -> OpenConsole:
    """The terminal of a process; `bind` puts it on /dev/console as well."""
    size = process.console_size
    return OpenConsole(
        origin="/process/terminal",
        socket_fd=options.console_fd,
        rows=size.height if size is not None else 0,
        columns=size.width if size is not None else 0,
        uid=process.user.uid,
        bind=bind,
    )


def _plan_root_change(view: ContainerView, linux: Linux, options: LaunchOptions) -> list[Operation]:
    if not view.has_namespace("mount"):
        return [ChangeRoot()]
    return [MoveRoot() if options.no_pivot else PivotRoot(), *_plan_root_propagation(linux)]


def _plan_root_propagation(linux: Linux) -> list[Operation]:
    propagation = PROPAGATION.get(linux.rootfs_propagation, 0)
    if propagation & (MS_SHARED | MS_UNBINDABLE):
        return [SetRootPropagation(origin="/linux/rootfsPropagation", flags=propagation)]
    return []


def _plan_names(config: Config) -> list[Operation]:
    operations: list[Operation] = []
    if config.root is not None and config.root.readonly:
        operations.append(RemountRootReadonly(origin="/root/readonly"))
    if config.hostname:
        operations.append(SetHostname(origin="/hostname", name=config.hostname))
    if config.domainname:
        operations.append(SetDomainname(origin="/domainname", name=config.domainname))
    return operations


def _plan_root(view: ContainerView, linux: Linux) -> list[Operation]:
    if not view.has_namespace("mount"):
        if view.rootfs == "/":
            hint = 'add {"type": "mount"} to linux.namespaces, or name another root.path'
            what = "a container without a mount namespace cannot have the host's root"
            raise SpecError(what, where="/root/path", hint=hint)
        # The host's own mounts: nothing of them may change.  The bind is what `delete` unmounts.
        return [BindRoot(origin="/root/path", host_path=view.rootfs)]
    propagation = PROPAGATION.get(linux.rootfs_propagation, MS_SLAVE)
    # An unbindable root could not be bound onto itself: that is applied after the pivot.
    host = propagation & (MS_SHARED | MS_SLAVE | MS_PRIVATE) or MS_SLAVE
    return [
        SetHostPropagation(origin="/linux/rootfsPropagation", host_path="/", flags=host | MS_REC),
        MakeParentPrivate(origin="/root/path", host_path=view.rootfs),
        BindRoot(origin="/root/path", host_path=view.rootfs),
    ]


def _plan_kernel_view(linux: Linux) -> list[Operation]:
    """Sysctls, then what is hidden or frozen of the kernel's files.

    Sysctls first, because /proc/sys is usually read-only afterwards.  A masked path may lie below a
    read-only one, so it comes second.
    """
    operations: list[Operation] = []
    for key, value in linux.sysctl.items():
        pointer = key.replace("~", "~0").replace("/", "~1")
        operations.append(SetSysctl(origin=f"/linux/sysctl/{pointer}", key=sysctl_path(key), value=value))
    for index, path in enumerate(linux.readonly_paths):
        operations.append(ReadonlyPath(origin=f"/linux/readonlyPaths/{index}", path=path))
    for index, path in enumerate(linux.masked_paths):
        operations.append(MaskPath(origin=f"/linux/maskedPaths/{index}", path=path))
    return operations


def plan_execution_domain(linux: Linux) -> list[Operation]:
    """`linux.personality` and `linux.memoryPolicy`: properties of a process, which `exec` does not inherit."""
    operations: list[Operation] = []
    if linux.personality is not None:
        domain = _PERSONALITIES.get(linux.personality.domain)
        if domain is None:
            hint = "use LINUX or LINUX32"
            what = f"unknown personality {linux.personality.domain!r}"
            raise SpecError(what, where="/linux/personality/domain", hint=hint)
        operations.append(SetPersonality(origin="/linux/personality", domain=domain))
    if linux.memory_policy is not None:
        operations.append(_plan_memory_policy(linux))
    return operations


def _plan_memory_policy(linux: Linux) -> SetMemoryPolicy:
    policy = linux.memory_policy
    assert policy is not None, "only called when there is one"
    mode = MEMORY_MODES.get(policy.mode)
    if mode is None:
        hint = f"use one of {', '.join(MEMORY_MODES)}"
        raise SpecError(f"unknown memory policy {policy.mode!r}", where="/linux/memoryPolicy/mode", hint=hint)
    for index, flag in enumerate(policy.flags):
        if flag not in MEMORY_FLAGS:
            hint = f"use one of {', '.join(MEMORY_FLAGS)}"
            where = f"/linux/memoryPolicy/flags/{index}"
            raise SpecError(f"unknown memory policy flag {flag!r}", where=where, hint=hint)
        mode |= MEMORY_FLAGS[flag]
    nodes = cpu_mask(policy.nodes, "/linux/memoryPolicy/nodes") if policy.nodes else b""
    return SetMemoryPolicy(origin="/linux/memoryPolicy", mode=mode, nodes=nodes)


def sysctl_path(key: str) -> str:
    """A sysctl key as a path below /proc/sys.

    The first separator seen is the separator; the other one is then part of a name, so that
    "net.ipv4.conf.eth0/1.forwarding" and "net/ipv4/conf/eth0.1/forwarding" mean the same device eth0.1.
    """
    dot, slash = key.find("."), key.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        return key.translate({ord("."): "/", ord("/"): "."})
    return key


def plan_container_hooks(
    view: ContainerView, options: LaunchOptions, name: str, status: str
) -> list[Operation]:
    """The createContainer or startContainer hooks, which run in the container's namespaces.

    A startContainer hook without an environment of its own gets that of the process.
    """
    hooks = view.config.hooks
    if hooks is None:
        return []
    entries = hooks.create_container if name == "createContainer" else hooks.start_container
    if not entries:
        return []
    head, tail = state_around_pid(view, status)
    process = view.config.process
    operations: list[Operation] = []
    for index, hook in enumerate(entries):
        inherited = process.env if process is not None and name == "startContainer" else ()
        operations.append(
            RunHook(
                origin=f"/hooks/{name}/{index}",
                name=name,
                index=index,
                host_path=hook.path,
                arguments=hook.args or (hook.path,),
                environment=hook.env or inherited,
                state_head=head,
                state_tail=tail,
                timeout=hook.timeout or 0,
                out_fd=options.hook_out_fd,
                err_fd=options.hook_err_fd,
            )
        )
    if name == "startContainer":
        # A hook must not see a directory that a hook before it has changed away from.
        operations.append(
            ChangeDirectory(origin="/process/cwd", path=process.cwd if process is not None else "/")
        )
    return operations


def state_around_pid(view: ContainerView, status: str) -> tuple[str, str]:
    """The state of the container as compact JSON, cut where the pid goes: only the container's side knows that pid."""
    state: dict[str, object] = {
        "ociVersion": view.config.oci_version,
        "id": view.container_id,
        "status": status,
    }
    rest: dict[str, object] = {"bundle": view.bundle}
    if view.config.annotations:
        rest["annotations"] = dict(view.config.annotations)
    return dumps(state)[:-1] + ',"pid":', "," + dumps(rest)[1:]
