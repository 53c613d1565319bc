"""pyruntime restore: bring a container back from the files of a checkpoint, through CRIU."""

from pyruntime.execute.foreground import SignalForwarding, become_subreaper
from pyruntime.plan.criu import CriuOptions
from pyruntime.store.store import Store
from pyruntime.verbs.creation import CreateOptions, Prepared, prepare
from pyruntime.verbs.criu_options import CRIU_OPTIONS, read_criu_options
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option
from pyruntime.verbs.launching import BUNDLE, CONSOLE_SOCKET, PID_FILE, check_console
from pyruntime.verbs.waiting import wait_and_delete

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    *CRIU_OPTIONS,
    BUNDLE,
    Option(names=("detach", "d"), help="return once the container runs"),
    CONSOLE_SOCKET,
    PID_FILE,
    Option(names=("no-subreaper",), help="do not become the parent of orphaned processes"),
    Option(names=("no-pivot",), help="accepted: CRIU changes the root"),
    Option(names=("no-new-keyring",), help="accepted: CRIU makes no keyring"),
    Option(
        names=("lsm-profile",), value=True, metavar="TYPE:NAME", help="another profile: apparmor or selinux"
    ),
    Option(
        names=("lsm-mount-context",), value=True, metavar="CONTEXT", help="another SELinux context of mounts"
    ),
    Option(names=("tcp-close",), help="close the TCP connections that were open"),
)


def run(arguments: Arguments, options: GlobalOptions) -> int:
    criu = read_criu_options(arguments).replace(
        tcp_close=arguments.flag("tcp-close"),
        lsm_profile=arguments.get("lsm-profile"),
        lsm_mount_context=arguments.get("lsm-mount-context"),
    )
    detached = arguments.flag("detach")
    if options.cgroup_manager == "systemd":
        # Before anything is connected to: the program may have to start again for it.
        from pyruntime.verbs.systemd_driver import load_systemd_driver

        load_systemd_driver()
    create = CreateOptions(cgroup_manager=options.cgroup_manager, pid_file=arguments.get("pid-file"))
    prepared = prepare(arguments.get("bundle", "."), arguments.positional[0], create)
    process = prepared.config.process
    terminal = process is not None and process.terminal
    path = check_console(arguments, terminal=terminal, detached=detached)
    console = -1
    if path:
        from pyruntime.execute.terminal import connect_console_socket

        console = connect_console_socket(path)
    from pyruntime.verbs.restoration import restore_container

    store = Store(options.root)
    if detached:
        restore_container(store, prepared, create.replace(console_fd=console), criu)
        return 0
    return _in_foreground(store, prepared, create, criu, subreaper=not arguments.flag("no-subreaper"))


def _in_foreground(
    store: Store, prepared: Prepared, create: CreateOptions, criu: CriuOptions, *, subreaper: bool
) -> int:
    """Restore, wait for the container's end, and delete it."""
    from pyruntime.verbs.restoration import restore_container

    masters: list[int] = []
    if subreaper:
        become_subreaper()
    signals = SignalForwarding()
    try:
        state = restore_container(store, prepared, create, criu, masters.append)
        return wait_and_delete(store, state, signals, master=masters[-1] if masters else -1)
    finally:
        signals.close()
