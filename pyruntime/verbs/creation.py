"""Making a container: what `create` and `run` do, and what is taken back when it fails."""

import os

from pyruntime.base import restart
from pyruntime.base.errors import ExpectedError, HostError, StateError, errno_text
from pyruntime.base.record import Record
from pyruntime.base.timestamp import now_precisely
from pyruntime.execute import session as places
from pyruntime.execute.cgroups import (
    apply_limits,
    make_cgroups,
    remove_cgroups,
    remove_empty_cgroups,
    signal_all,
)
from pyruntime.execute.creator import ParentSteps, launch, with_filter
from pyruntime.execute.hooks import HookLogs, open_log, run_all_hooks, run_hooks
from pyruntime.execute.session import Session, StartedExecutor, descriptor_base
from pyruntime.host.cgroups import read_cgroup_layout
from pyruntime.host.facts import facts_for
from pyruntime.host.process import end_process, start_time
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import LaunchPlan, plan_create, plan_create_front
from pyruntime.plan.options import LaunchOptions
from pyruntime.spec.annotations import HOOK_STDERR, HOOK_STDOUT
from pyruntime.spec.config import Config, Hooks
from pyruntime.spec.load import read_config
from pyruntime.spec.rules import check_rules
from pyruntime.store.state import ContainerState
from pyruntime.store.status import CREATED, CREATING, STOPPED, hook_document
from pyruntime.store.store import FAILURE, FIFO, UNFINISHED_FIFO, Store, check_id
from pyruntime.verbs.interface import absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyruntime.execute.seccomp_listener import SeccompListener
    from pyruntime.plan.operations import Operation


_NEW_MOUNT = 0x20000
_END_OF_INIT_MS = 10_000


class CreateOptions(Record):
    """What `create` and `run` may be told.

    `starts`: the process is executed at once, without waiting for `start`.
    `root`: the directory of the store that the container will be in; "" plans a gate that nobody can open.
    `console_fd`: a connected socket that gets the pty's master.  `pidfd_fd`: one that gets a pidfd of the init, and is
    closed then.  `preserve_fds`: how many descriptors after 2 (and
    after those of LISTEN_FDS) the container keeps.  `stdio`: what it gets as 0, 1 and 2
    instead of ours.  `observe`: told of each finished step and its nanoseconds.
    """

    starts: bool = False
    root: str = ""
    config_path: str = ""
    no_pivot: bool = False
    no_new_keyring: bool = False
    cgroup_manager: str = "cgroupfs"
    console_fd: int = -1
    pidfd_fd: int = -1
    listen_fds: int = 0
    preserve_fds: int = 0
    pid_file: str = ""
    stdio: tuple[int, ...] = ()


class Prepared(Record):
    """A container that is planned, but of which nothing exists yet."""

    container_id: str
    bundle: str
    config: Config
    config_text: bytes
    facts: HostFacts
    options: LaunchOptions
    plan: LaunchPlan


def prepare(
    bundle: str, container_id: str, options: CreateOptions, started: StartedExecutor | None = None
) -> Prepared:
    """Read, check and plan; touches nothing.  This is also what `explain` prints.

    `started`: an executor that is to carry out what the plan begins with as soon as that is known.

    Raises:
        SpecError: the config is wrong.
        StateError: the id is none.
    """
    check_id(container_id)
    bundle = absolute_path(bundle)
    config, text = read_config(options.config_path or f"{bundle}/config.json")
    check_rules(config)
    facts = facts_for(config)
    launch_options = _launch_options(container_id, config, options)
    front = plan_create_front(config, facts, launch_options)
    if started is not None:
        started.begin(front)
    layout = read_cgroup_layout()
    if options.cgroup_manager == "systemd":
        from pyruntime.host.systemd import systemd_path

        layout = layout.replace(systemd_path=systemd_path(layout, of_user=facts.rootless))
    plan = plan_create(config, container_id, bundle, facts, layout, launch_options, front)
    return Prepared(
        container_id=container_id,
        bundle=bundle,
        config=config,
        config_text=text,
        facts=facts,
        options=launch_options,
        plan=plan,
    )


def _launch_options(container_id: str, config: Config, options: CreateOptions) -> LaunchOptions:
    base = descriptor_base(first_private(options))
    terminal = config.process is not None and config.process.terminal
    directory = f"{options.root}/{container_id}" if options.root and not options.starts else ""
    return LaunchOptions(
        no_pivot=options.no_pivot,
        no_new_keyring=options.no_new_keyring,
        waits_for_start=not options.starts,
        cgroup_manager=options.cgroup_manager,
        first_private=first_private(options),
        listen_fds=options.listen_fds,
        fifo_fd=base + places.FIFO_FD,
        fifo_path=f"{directory}/{UNFINISHED_FIFO}" if directory else "",
        failure_fd=base + places.FAILURE_FD,
        failure_path=f"{directory}/{FAILURE}" if directory else "",
        console_fd=base + places.CONSOLE_FD if terminal else -1,
        listener_fd=base + places.LISTENER_FD,
        hook_out_fd=base + places.HOOK_OUT_FD if HOOK_STDOUT in config.annotations else -1,
        hook_err_fd=base + places.HOOK_ERR_FD if HOOK_STDERR in config.annotations else -1,
    )


def start_executor(options: CreateOptions, *, report_steps: bool) -> StartedExecutor:
    """The executor of most containers, in advance; it is discarded for one that wants more descriptors."""
    return StartedExecutor(
        first_private=first_private(options),
        descriptors={},
        stdio=options.stdio,
        report_steps=report_steps,
    )


def first_private(options: CreateOptions) -> int:
    return 3 + options.listen_fds + options.preserve_fds


def create_container(
    store: Store,
    prepared: Prepared,
    options: CreateOptions,
    observe: "Callable[[int, int], None] | None" = None,
    started: StartedExecutor | None = None,
) -> ContainerState:
    """Make the container; when this returns it waits for `start`, or with `options.starts` its process was executed.

    Raises:
        ExpectedError: something failed.  Then nothing is left: no state, cgroup, mount, process or fifo.
    """
    operations = load_all(prepared.plan, store)
    restart.forbid()
    directory = store.reserve(prepared.container_id)
    creation = Creation(store, prepared, directory)
    try:
        return creation.carry_out(operations, options, observe, started)
    except BaseException:
        creation.undo()
        raise


def load_all(plan: LaunchPlan, store: Store) -> "tuple[Operation, ...]":
    """All that the program may have to start again for; returns what the executor is to do.

    Call it before connecting to a caller's socket, too: the caller takes one connection, the first.

    Raises:
        HostError: something that the plan needs is missing on this host.
    """
    operations = executor_operations(plan, store)
    if plan.cgroup.unit:
        from pyruntime.verbs.systemd_driver import load_systemd_driver

        load_systemd_driver()
    return operations


def executor_operations(plan: LaunchPlan, store: Store) -> "tuple[Operation, ...]":
    """What the executor is to do, the compiled seccomp filter included.

    Raises:
        HostError: there is a filter to compile, and libseccomp is missing or refuses it.
    """
    if plan.net_devices:
        # Loaded before anything is done: it takes modules with which the program may have to start again.
        __import__("pyruntime.execute.net_devices")
    if plan.filter is None:
        return plan.operations
    from pyruntime.execute.seccomp import compile_filter, filter_flags

    program = compile_filter(plan.filter, f"{store.root}/.seccomp")
    return with_filter(plan.operations, program, filter_flags(plan.filter))


def listener_for(plan: LaunchPlan, config: Config) -> "SeccompListener | None":
    """What takes the descriptor for seccomp notifications over, if the plan's filter asks for them."""
    profile = config.linux.seccomp if config.linux is not None else None
    if plan.filter is None or profile is None or not plan.filter.notifies:
        return None
    from pyruntime.execute.seccomp_listener import SeccompListener

    return SeccompListener(profile, config.oci_version)


def _nobody(_directory: str) -> None:
    """For those who do not ask."""


class Creation:
    """One container on its way: what has been made so far, so that it can be taken back."""

    def __init__(self, store: Store, prepared: Prepared, directory: str) -> None:
        self.store = store
        self.prepared = prepared
        self.directory = directory
        config, plan = prepared.config, prepared.plan
        hooks = config.hooks or Hooks()
        self.hooks = hooks
        rootfs = config.root.path if config.root is not None else ""
        self.state = ContainerState(
            oci_version=config.oci_version,
            id=prepared.container_id,
            bundle=prepared.bundle,
            rootfs=os.path.normpath(os.path.join(prepared.bundle, rootfs)),
            created=now_precisely(),
            owner_uid=prepared.facts.user_id,
            creating=True,
            cgroup_directories=plan.cgroup.directories,
            cgroup_paths=plan.cgroup.paths,
            systemd_unit=plan.cgroup.unit,
            systemd_of_user=plan.cgroup.unit_of_user,
            annotations=config.annotations,
            namespaces=plan.namespaces,
            rootfs_mounts=_mounts_on_rootfs(plan, rootfs, prepared.bundle),
            resctrl_joined=plan.resctrl.joined if plan.resctrl is not None else (),
            resctrl_removed=plan.resctrl.removed if plan.resctrl is not None else (),
            has_poststart=bool(hooks.poststart),
            has_poststop=bool(hooks.poststop),
        )

    def carry_out(
        self,
        operations: "tuple[Operation, ...]",
        options: CreateOptions,
        observe: "Callable[[int, int], None] | None",
        started: StartedExecutor | None,
    ) -> ContainerState:
        plan = self.prepared.plan
        # Recorded before anything exists, so that `delete --force` cleans up after a kill at any point.
        self.save()
        if not options.starts:
            self.store.make_gate(self.state.id)
        descriptors: dict[int, int] = {}
        if options.console_fd >= 0:
            descriptors[places.CONSOLE_FD] = options.console_fd
        descriptors.update(self._hook_logs())
        listener = listener_for(plan, self.prepared.config)
        if listener is not None:
            descriptors[places.LISTENER_FD] = listener.theirs
        try:
            session = Session(
                operations,
                first_private=self.prepared.options.first_private,
                descriptors=descriptors,
                observe=observe,
                stdio=options.stdio,
                started=started,
            )
        finally:
            if listener is not None:
                listener.close_theirs()
        self._launch(session, listener)
        if options.starts:
            self.change(creating=False)
        if options.pidfd_fd >= 0:
            from pyruntime.execute.pidfd_socket import INIT, send_pidfd

            send_pidfd(options.pidfd_fd, self.state.pid, INIT)
        if options.pid_file:
            write_pid_file(options.pid_file, self.state.pid)
        return self.state

    def _hook_logs(self) -> dict[int, int]:
        """What the container's own hooks append to; it lives as long as this process."""
        entries = ((places.HOOK_OUT_FD, HOOK_STDOUT), (places.HOOK_ERR_FD, HOOK_STDERR))
        wanted = [(place, key) for place, key in entries if key in self.state.annotations]
        if not wanted or not (self.hooks.create_container or self.hooks.start_container):
            return {}
        return {place: open_log(self.state.annotations[key], key) for place, key in wanted}

    def _launch(self, session: Session, listener: "SeccompListener | None") -> None:
        steps = ParentSteps(
            cgroups=self.make_cgroups,
            started=self.started,
            hooks=self.run_hooks if self.hooks.prestart or self.hooks.create_runtime else None,
            ready=self._ready,
        )
        if listener is not None:
            forward = listener.forward
            steps.listener = lambda pid: forward(pid, hook_document(self.state, CREATING, pid))
        try:
            launch(session, self.prepared.plan, steps, user_id=self.prepared.facts.user_id)
        finally:
            if listener is not None:
                listener.close()

    def save(self) -> None:
        """Write the state for the first time."""
        self.store.save(self.state, self.prepared.config_text)

    def change(self, **changes: object) -> None:
        """Change the state that is saved."""
        self.state = self.store.change(self.state, **changes)

    def make_cgroups(self, pid: int, made: "Callable[[str], None]" = _nobody) -> None:
        """Make the container's cgroups; `pid` is a process for a unit of systemd's, which cannot be empty.

        `made` is told the directory of each.
        """
        if self.prepared.plan.resctrl is not None:
            from pyruntime.execute.resctrl import make_group

            make_group(self.prepared.plan.resctrl)
        try:
            make_cgroups(self.prepared.plan.cgroup, pid, made)
        except StateError:
            # Somebody else's cgroup: from here on nothing may signal or remove what is in it.
            directories = self.state.cgroup_directories
            self.change(cgroup_directories=(), systemd_unit="")
            remove_empty_cgroups(directories)
            raise

    def started(self, pid: int) -> None:
        """The init is there: save that, and limit it."""
        # Without a gate, which says so otherwise, it is being created until its process is executed.
        creating = not self.prepared.options.waits_for_start
        self.change(pid=pid, pid_start_time=start_time(pid), creating=creating)
        apply_limits(self.prepared.plan.cgroup)
        if self.state.resctrl_joined:
            from pyruntime.execute.resctrl import join_groups

            join_groups(self.state.resctrl_joined, pid)
        if self.prepared.plan.net_devices:
            from pyruntime.execute.net_devices import move_devices

            move_devices(self.prepared.plan.net_devices, pid)

    def run_hooks(self, pid: int) -> None:
        """Run the prestart and createRuntime hooks."""
        # prestart is of a time when it ran between create and start, and its hooks expect what was so then.
        for hooks, name, status in (
            (self.hooks.prestart, "prestart", CREATED),
            (self.hooks.create_runtime, "createRuntime", CREATING),
        ):
            document = hook_document(self.state, status, pid)
            run_hooks(
                hooks,
                name=name,
                state=document,
                bundle=self.prepared.bundle,
                logs=HookLogs.of(self.state.annotations),
            )

    def _ready(self, _pid: int) -> None:
        if self.prepared.options.waits_for_start:
            os.rename(f"{self.directory}/{UNFINISHED_FIFO}", f"{self.directory}/{FIFO}")

    def undo(self) -> None:
        """Take everything back."""
        directories = self.state.cgroup_directories
        try:
            # A launch that fails ends what it began; but it may have been done, and the pid file has failed.
            self._end_init()
            if self.state.rootfs_mounts >= 0:
                from pyruntime.host.mounts import unmount_to

                unmount_to(self.state.rootfs, self.state.rootfs_mounts)
            if self.state.pid and not self.state.has_own_pid_namespace:
                # Without a pid namespace of its own nothing died with the init.
                signal_all(directories, 9)
            if self.state.pid or any(os.path.isdir(directory) for directory in directories):
                self._remove_cgroups()
            if self.state.resctrl_removed:
                from pyruntime.execute.resctrl import remove_groups

                remove_groups(self.state.resctrl_removed)
        finally:
            self.store.remove(self.state.id)
        if self.hooks.poststop and self.state.pid:
            document = hook_document(self.state, STOPPED, 0)
            run_all_hooks(
                self.hooks.poststop,
                name="poststop",
                state=document,
                bundle=self.prepared.bundle,
                logs=HookLogs.of(self.state.annotations),
            )

    def _end_init(self) -> None:
        pid = self.state.pid
        end_process(pid, self.state.pid_start_time, patience_ms=_END_OF_INIT_MS)
        try:
            if pid:
                os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return  # the launch has waited for it

    def _remove_cgroups(self) -> None:
        try:
            if self.state.systemd_unit:
                from pyruntime.execute.systemd import stop_unit

                stop_unit(self.state.systemd_unit, of_user=self.state.systemd_of_user)
            remove_cgroups(self.state.cgroup_directories)
        except ExpectedError:
            # The reason of the failure counts more than a cgroup that somebody else sits in.
            return


def _mounts_on_rootfs(plan: LaunchPlan, rootfs: str, bundle: str) -> int:
    """What `delete` has to leave mounted there; -1 if the container's mounts are in a namespace of its own."""
    if plan.namespaces & _NEW_MOUNT:
        return -1
    from pyruntime.host.mounts import mounts_on

    return mounts_on(os.path.join(bundle, rootfs))


def write_pid_file(path: str, pid: int) -> None:
    """Digits and nothing else, appearing at once: its readers take every byte for a digit.

    Raises:
        HostError: it cannot be written.
    """
    temporary = f"{os.path.dirname(path) or '.'}/.{os.path.basename(path)}"
    step = f"open {temporary}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            step = f"write {temporary}"
            os.write(descriptor, str(pid).encode())
            step = f"rename {temporary} {path}"
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = errno_text(error.errno or 0)
        hint = "name a file in a folder that you may write to with --pid-file"
        raise HostError(f"{step}: {reason}", hint=hint) from None
