"""pyruntime exec: one more process in a running container."""

import os

from pyruntime.base.decode import decode
from pyruntime.base.errors import ExpectedError, SpecError, StateError, UsageError
from pyruntime.base.jsonio import read_document
from pyruntime.execute import session as places
from pyruntime.execute.creator import ParentSteps, launch
from pyruntime.execute.foreground import SignalForwarding, wait_in_foreground
from pyruntime.execute.session import Session, StartedExecutor, descriptor_base
from pyruntime.host.facts import read_host_facts
from pyruntime.host.process import end_process, open_process, start_time
from pyruntime.plan.launch import plan_exec, plan_exec_front
from pyruntime.plan.options import LaunchOptions
from pyruntime.spec.config import Capabilities, Config, Process, User
from pyruntime.spec.load import decode_config
from pyruntime.spec.rules import check_process_rules
from pyruntime.store.state import ContainerState
from pyruntime.store.status import PAUSED, RUNNING, STOPPED, hook_document, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.creation import executor_operations, listener_for, write_pid_file
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option
from pyruntime.verbs.launching import (
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    check_console,
    listen_descriptors,
    pidfd_connection,
    require_descriptors,
    step_observer,
    warn_of_capabilities,
)
from pyruntime.verbs.sub_cgroup import exec_cgroup

USAGE = "[options] <container-id> <command> [command options]  || -p process.json <container-id>"
OPTIONS = (
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    Option(names=("cwd",), value=True, metavar="DIR", help="working directory in the container"),
    Option(names=("env", "e"), value=True, metavar="NAME=VALUE", help="add to the environment", repeat=True),
    Option(names=("tty", "t"), help="allocate a terminal"),
    Option(names=("user", "u"), value=True, metavar="UID[:GID]", help="run as this user"),
    Option(
        names=("additional-gids", "g"),
        value=True,
        metavar="GID",
        help="add a supplementary group",
        repeat=True,
    ),
    Option(
        names=("process", "p"), value=True, metavar="FILE", help="process.json instead of the command line"
    ),
    Option(names=("detach", "d"), help="return once the process runs"),
    Option(names=("pid-file",), value=True, metavar="FILE", help="write the pid of the process there"),
    Option(names=("process-label",), value=True, metavar="LABEL", help="SELinux label"),
    Option(names=("apparmor",), value=True, metavar="PROFILE", help="AppArmor profile"),
    Option(names=("no-new-privs",), help="set no_new_privs"),
    Option(names=("cap", "c"), value=True, metavar="CAP", help="add a capability", repeat=True),
    PRESERVE_FDS,
    Option(
        names=("cgroup",),
        value=True,
        metavar="[CONTROLLER:]PATH",
        help="enter this cgroup below the container's",
        repeat=True,
    ),
    Option(names=("ignore-paused",), help="do not refuse a paused container"),
)

_STOPPED = "cannot exec in a stopped container"


def run(arguments: Arguments, options: GlobalOptions) -> int:
    state, config_text = _load(arguments, options)
    with Entrance(state, _first_private(arguments)) as entrance:
        entrance.start_executor(report_steps=options.report_steps)
        return _prepare(arguments, options, state, config_text, entrance).carry_out()


def prepare_execution(arguments: Arguments, options: GlobalOptions) -> "Execution":
    """Read, check and plan what `exec` is told; nothing is started yet.

    Raises:
        StateError: the container has stopped, is paused, or is not there.
        SpecError: the process cannot be as it is asked for.
    """
    state, config_text = _load(arguments, options)
    return _prepare(arguments, options, state, config_text, Entrance(state, _first_private(arguments)))


def _load(arguments: Arguments, options: GlobalOptions) -> tuple[ContainerState, bytes]:
    container_id = arguments.positional[0]
    store = Store(options.root)
    state, config_text = store.load_with_config(container_id)
    status = status_of(state, store.directory(container_id))
    if status == STOPPED:
        raise StateError(_STOPPED, where=container_id)
    if status == PAUSED and not arguments.flag("ignore-paused"):
        raise StateError(
            "cannot exec in a paused container (use --ignore-paused to override)", where=container_id
        )
    return state, config_text


def _first_private(arguments: Arguments) -> int:
    listening, preserved = listen_descriptors(), arguments.number("preserve-fds")
    require_descriptors(3, listening + preserved)
    return 3 + listening + preserved


def _prepare(
    arguments: Arguments,
    options: GlobalOptions,
    state: ContainerState,
    config_text: bytes,
    entrance: "Entrance",
) -> "Execution":
    config = decode_config(config_text, without=("mounts", "hooks"))
    process = _process(arguments, config)
    execution = Execution(arguments, options, state, config, process, entrance)
    check_process_rules(config.replace(process=process))
    warn_of_capabilities(config, process, options)
    return execution


def _process(arguments: Arguments, config: Config) -> Process:
    """The process asked for: a file as it is, or the container's own with what the command line says."""
    path = arguments.get("process")
    if path:
        return _with_defaults(decode(Process, read_document(path)), config.process)
    base = config.process
    if base is None:
        raise SpecError("config has no process", where="/process", hint="use --process")
    words = arguments.positional[1:]
    if not words:
        raise UsageError("process args cannot be empty", hint="name the command after the container's id")
    return base.replace(
        args=tuple(words),
        env=base.env + arguments.all("env"),
        cwd=arguments.get("cwd") or base.cwd,
        terminal=arguments.flag("tty"),
        user=_user(arguments, base.user),
        apparmor_profile=arguments.get("apparmor") or base.apparmor_profile,
        selinux_label=arguments.get("process-label") or base.selinux_label,
        no_new_privileges=base.no_new_privileges or arguments.flag("no-new-privs"),
        capabilities=_with_capabilities(base.capabilities, arguments.all("cap")),
    )


def _with_defaults(process: Process, base: Process | None) -> Process:
    """What a process.json leaves out and the container's own process has, as with runc: an absent object is not
    "none of it" here."""
    if base is None:
        return process
    return process.replace(
        capabilities=base.capabilities if process.capabilities is None else process.capabilities,
        rlimits=process.rlimits or base.rlimits,
        apparmor_profile=process.apparmor_profile or base.apparmor_profile,
        selinux_label=process.selinux_label or base.selinux_label,
        scheduler=process.scheduler or base.scheduler,
        io_priority=process.io_priority or base.io_priority,
        exec_cpu_affinity=process.exec_cpu_affinity or base.exec_cpu_affinity,
    )


def _user(arguments: Arguments, base: User) -> User:
    """The user from --user UID[:GID]: numbers and nothing else (CVE-2016-3697, CVE-2026-30892)."""
    text = arguments.get("user")
    groups = tuple(_number(group, "additional-gids") for group in arguments.all("additional-gids"))
    if not text:
        return base.replace(additional_gids=base.additional_gids + groups) if groups else base
    uid, colon, gid = text.partition(":")
    return base.replace(
        uid=_number(uid, "user"),
        gid=_number(gid, "user") if colon else base.gid,
        additional_gids=base.additional_gids + groups,
    )


def _number(text: str, option: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 32:
        raise UsageError(f'invalid value "{text}" for flag -{option}', hint="write ids as decimal numbers")
    return int(text)


def _with_capabilities(base: Capabilities | None, names: tuple[str, ...]) -> Capabilities | None:
    """--cap adds to bounding, effective and permitted; never to inheritable by itself (CVE-2022-29162)."""
    if not names:
        return base
    sets = base or Capabilities()
    return sets.replace(
        bounding=sets.bounding + names, effective=sets.effective + names, permitted=sets.permitted + names
    )


class Entrance:
    """The way into a container: a pidfd of its init, and an executor that was started in advance, if any.

    Raises:
        StateError: the init has ended.
    """

    def __init__(self, state: ContainerState, first_private: int) -> None:
        self.first_private = first_private
        self.executor: StartedExecutor | None = None
        try:
            self.init = open_process(state.pid, state.pid_start_time)
        except ProcessLookupError:
            raise StateError(_STOPPED, where=state.id) from None

    def __enter__(self) -> "Entrance":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start_executor(self, *, report_steps: bool) -> None:
        """Start an executor that needs nothing but the pidfd."""
        self.executor = StartedExecutor(
            first_private=self.first_private,
            descriptors={places.INIT_FD: self.init},
            report_steps=report_steps,
        )

    def close(self) -> None:
        """Once the executor is at work, or is not wanted; a second call does nothing."""
        if self.init >= 0:
            os.close(self.init)
            self.init = -1
        if self.executor is not None:
            self.executor.discard()


class Execution:
    """One process on its way into a container; `stdio` is what it gets as 0, 1 and 2 instead of ours."""

    def __init__(
        self,
        arguments: Arguments,
        options: GlobalOptions,
        state: ContainerState,
        config: Config,
        process: Process,
        entrance: Entrance,
    ) -> None:
        self.arguments = arguments
        self.options = options
        self.state = state
        self.config = config
        self.process = process
        self.entrance = entrance
        self.detached = arguments.flag("detach")
        self.console = self.master = -1
        self.stdio: tuple[int, ...] = ()
        self.cgroup = exec_cgroup(state, arguments.all("cgroup"))
        if self.cgroup.attach:
            from pyruntime.verbs.systemd_driver import load_systemd_driver

            load_systemd_driver()
        base = descriptor_base(entrance.first_private)
        self.facts = read_host_facts()
        self.launch_options = LaunchOptions(
            first_private=entrance.first_private,
            listen_fds=listen_descriptors(),
            init_fd=base + places.INIT_FD,
            listener_fd=base + places.LISTENER_FD,
        )
        self.front = plan_exec_front(process, state.namespaces, self.facts, self.cgroup, self.launch_options)
        # Not into a unit, which takes an order, nor into a frozen cgroup, where it could not be ended any more.
        if entrance.executor is not None and not self.cgroup.attach and not arguments.flag("ignore-paused"):
            entrance.executor.begin(self.front)

    def carry_out(self) -> int:
        path = check_console(self.arguments, terminal=self.process.terminal, detached=self.detached)
        theirs = -1
        if self.process.terminal:
            from pyruntime.execute.terminal import connect_console_socket, console_pair

            self.console, theirs = (-1, connect_console_socket(path)) if path else console_pair()
        if self.detached:
            self.launch(theirs)
            return 0
        signals = SignalForwarding()
        try:
            pid = self.launch(theirs)
            return wait_in_foreground(pid, signals, master=self.master)
        finally:
            signals.close()

    def launch(self, console: int = -1) -> int:
        """Start the process; returns its pid, that of a child of ours, once it has been executed."""
        with self.entrance:
            return self._launch(console)

    def _launch(self, console: int) -> int:
        state, arguments, entrance = self.state, self.arguments, self.entrance
        pidfd_socket = pidfd_connection(arguments)
        options, facts = self.launch_options, self.facts
        if console >= 0:
            base = descriptor_base(entrance.first_private)
            options = options.replace(console_fd=base + places.CONSOLE_FD)
        plan = plan_exec(
            self.config, self.process, state.id, state.namespaces, facts, self.cgroup, options, self.front
        )
        descriptors = {places.INIT_FD: entrance.init}
        if console >= 0:
            descriptors[places.CONSOLE_FD] = console
        steps = self._steps(pidfd_socket)
        listener = listener_for(plan, self.config)
        if listener is not None:
            descriptors[places.LISTENER_FD] = listener.theirs
            forward = listener.forward
            steps.listener = lambda pid: forward(pid, hook_document(state, RUNNING, state.pid))
        session = Session(
            executor_operations(plan, Store(self.options.root)),
            first_private=entrance.first_private,
            descriptors=descriptors,
            observe=step_observer(self.options, plan),
            stdio=self.stdio,
            started=entrance.executor,
        )
        entrance.close()
        if listener is not None:
            listener.close_theirs()
        pid = launch(session, plan, steps, user_id=facts.user_id)
        if arguments.get("pid-file"):
            try:
                write_pid_file(arguments.get("pid-file"), pid)
            except ExpectedError:
                end_process(pid, start_time(pid))
                raise
        return pid

    def _steps(self, pidfd_socket: int) -> ParentSteps:
        """What this side does while the executor works: a unit, a share of caches, a pidfd for the caller."""
        steps = ParentSteps()
        if self.cgroup.attach:
            steps.cgroups = self._attach
        joined = self.state.resctrl_joined
        if joined:
            from pyruntime.execute.resctrl import join_groups

            steps.started = lambda pid: join_groups(joined, pid)
        if pidfd_socket >= 0 or self.console >= 0:
            steps.ready = lambda pid: self._ready(pid, pidfd_socket)
            steps.holds_back = True
        return steps

    def _ready(self, pid: int, pidfd_socket: int) -> None:
        """The process is set up, and not yet executed."""
        if pidfd_socket >= 0:
            from pyruntime.execute.pidfd_socket import EXEC, send_pidfd

            # Afterwards it may have ended, and been reaped by nobody but us.
            send_pidfd(pidfd_socket, pid, EXEC)
        if self.console >= 0:
            from pyruntime.execute.terminal import take_master

            self.master = take_master(self.console)

    def _attach(self, pid: int, _made: object) -> None:
        from pyruntime.execute.systemd import attach_process

        attach_process(self.cgroup, pid)
