"""pyruntime checkpoint: save a running container to files, through CRIU."""

from pyruntime.base.errors import StateError, UsageError
from pyruntime.plan.criu import CriuOptions, Saved, has_own_mounts
from pyruntime.store.status import CREATED, CREATING, STOPPED, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.criu_options import CRIU_OPTIONS, read_criu_options
from pyruntime.verbs.delete import delete_container
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    *CRIU_OPTIONS,
    Option(names=("leave-running",), help="leave the container running"),
    Option(names=("pre-dump",), help="save the memory only, and leave the container running"),
    Option(names=("tcp-skip-in-flight",), help="leave out TCP connections that are just being made"),
    Option(names=("link-remap",), help="allow files that were unlinked"),
    Option(
        names=("page-server",),
        value=True,
        metavar="ADDRESS:PORT",
        help="send the memory to this page server of CRIU's",
    ),
    Option(
        names=("status-fd",),
        value=True,
        metavar="FD",
        help="gets a NUL as soon as lazy pages can be asked for",
    ),
)


def run(arguments: Arguments, options: GlobalOptions) -> int:
    criu = read_criu_options(arguments).replace(
        leave_running=arguments.flag("leave-running"),
        pre_dump=arguments.flag("pre-dump"),
        tcp_skip_in_flight=arguments.flag("tcp-skip-in-flight"),
        link_remap=arguments.flag("link-remap"),
        page_server=_page_server(arguments.get("page-server")),
        status_fd=arguments.number("status-fd", -1),
    )
    if criu.pre_dump and criu.lazy_pages:
        raise UsageError(
            "--pre-dump and --lazy-pages cannot be used together", hint="lazy pages are for the last dump"
        )
    for warning in checkpoint_container(Store(options.root), arguments.positional[0], criu):
        options.warn(warning)
    return 0


def checkpoint_container(store: Store, container_id: str, options: CriuOptions) -> list[str]:
    """Save a running or paused container; unless it is to go on, it is deleted then.  Returns warnings.

    Raises:
        StateError: it is in no state to be saved.
        HostError: CRIU is missing or fails; then the container goes on.
        SpecError: it has something that CRIU cannot restore.
    """
    from pyruntime.execute.criu.dump import dump
    from pyruntime.host.cgroups import read_cgroup_layout
    from pyruntime.host.facts import read_host_facts
    from pyruntime.plan.launch import plan_create
    from pyruntime.plan.options import LaunchOptions
    from pyruntime.plan.view import read_namespaces
    from pyruntime.spec.load import decode_config

    with store.lock(container_id):
        state = store.load(container_id)
        status = status_of(state, store.directory(container_id))
        if status in (CREATING, CREATED, STOPPED):
            raise StateError(f"Container cannot be checkpointed in {status} state", where=container_id)
        config = decode_config(store.load_config_text(container_id))
        # What lies outside of its mounts makes no difference here.
        if config.linux is not None:
            rest = config.linux.replace(cgroups_path="", resources=None, intel_rdt=None, net_devices={})
            config = config.replace(linux=rest)
        then = LaunchOptions(cgroup_manager="cgroupfs" if state.cgroup_directories else "disabled")
        facts, layout = read_host_facts(), read_cgroup_layout()
        plan = plan_create(config, container_id, state.bundle, facts, layout, then)
        if not has_own_mounts(plan.operations):
            raise StateError(
                "a container without a mount namespace of its own cannot be checkpointed",
                where=container_id,
                hint='add {"type": "mount"} to linux.namespaces',
            )
        saved = Saved(
            rootfs=state.rootfs,
            pid=state.pid,
            freezer=state.cgroup_paths.get("freezer") or state.cgroup_paths.get("", ""),
            annotations=state.annotations,
        )
        if state.systemd_unit and not (options.leave_running or options.pre_dump):
            # It is deleted afterwards, when this command can no longer run again in an interpreter that has the driver.
            from pyruntime.verbs.systemd_driver import load_systemd_driver

            load_systemd_driver()
        dump(saved, plan.operations, read_namespaces(config)[1], options)
    if options.leave_running or options.pre_dump:
        return []
    return delete_container(store, container_id, force=True)


def _page_server(text: str) -> tuple[str, ...]:
    """Address and port of `ADDRESS:PORT`, where brackets may stand around an address."""
    if not text:
        return ()
    address, _, port = text.rpartition(":")
    if not address or not port:
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError("Invalid port number", where=port)
    return address.removeprefix("[").removesuffix("]"), port
