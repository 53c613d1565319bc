"""The library: containers from Python, with no command line and no global state.

    runtime = Runtime()
    container = runtime.create("bundle", "web")
    container.start()
    print(container.wait())
    container.delete()

Every expected failure is an `ExpectedError` (pyruntime/base/errors.py draws the tree).  Containers may be made from
several threads, and from a program of any size: nothing is forked.  What waits can be called through
`asyncio.to_thread`.  docs/library.md shows more.
"""

import os
import select

from pyruntime.base.errors import (
    ExpectedError,
    HostError,
    SpecError,
    StateError,
    StepError,
    UsageError,
)
from pyruntime.base.record import Record
from pyruntime.execute.cgroups import processes_in
from pyruntime.host.cgroup_statistics import read_statistics
from pyruntime.host.process import open_process
from pyruntime.host.rootless import default_root
from pyruntime.spec.linux import BlockIo, Cpu, Memory, Pids, Resources
from pyruntime.spec.load import read_text
from pyruntime.store.store import Store
from pyruntime.verbs.creation import CreateOptions, create_container, prepare
from pyruntime.verbs.delete import delete_container
from pyruntime.verbs.exec import prepare_execution
from pyruntime.verbs.explain import plan_lines
from pyruntime.verbs.features import features
from pyruntime.verbs.interface import Arguments, GlobalOptions
from pyruntime.verbs.kill import kill_container, signal_number
from pyruntime.verbs.launching import require_descriptors
from pyruntime.verbs.list import list_containers
from pyruntime.verbs.pause import pause_container
from pyruntime.verbs.resume import resume_container
from pyruntime.verbs.start import start_container
from pyruntime.verbs.state import container_state
from pyruntime.verbs.update import update_container
from pyruntime.verbs.validate import Fault, find_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "BlockIo", "Container", "ContainerStatus", "Cpu", "ExpectedError", "Fault", "Finished", "HostError", "Memory",
    "Pids", "PlannedStep", "Resources", "Runtime", "SpecError", "StateError", "StepError", "UsageError",
]  # fmt: skip


class ContainerStatus(Record):
    """What is known of a container: `status` is creating, created, running, paused or stopped."""

    id: str
    status: str
    pid: int
    bundle: str
    rootfs: str
    created: str
    annotations: dict[str, str] = {}


class PlannedStep(Record):
    """One step of a plan: in which process, its number there, what it does, and the entry of config.json behind it."""

    lane: str
    number: int
    does: str
    origin: str


class Finished(Record):
    """A process that has ended: its exit code (128 + n for signal n), and what it wrote if that was kept."""

    code: int
    output: bytes = b""
    errors: bytes = b""


class Runtime:
    """Containers whose states are below one directory."""

    def __init__(self, root: str = "", *, cgroup_manager: str = "cgroupfs") -> None:
        """`root` is by default that of the command line; `cgroup_manager` is "cgroupfs" or "systemd"."""
        self.root = os.path.abspath(root or default_root(os.environ))
        self.cgroup_manager = cgroup_manager
        self.store = Store(self.root)

    def create(
        self,
        bundle: str,
        container_id: str,
        *,
        config: str = "",
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        console: int = -1,
        preserve_fds: int = 0,
        pid_file: str = "",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        observe: "Callable[[int, int], None] | None" = None,
    ) -> "Container":
        """Make a container of a bundle; it waits for `start`.

        `stdin`, `stdout` and `stderr` are descriptors, None those of this process.  `console` is a connected socket
        that gets the master of the terminal, if config.json asks for one.  `observe` is told of each step as it
        ends: its number in the plan and its nanoseconds.

        Raises:
            SpecError: config.json is wrong.  HostError, StepError: it cannot be done; nothing is left then.
            StateError: there is a container with that id.
        """
        require_descriptors(3, preserve_fds)
        options = CreateOptions(
            root=self.store.root,
            config_path=config,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            cgroup_manager=self.cgroup_manager,
            console_fd=console,
            preserve_fds=preserve_fds,
            pid_file=pid_file,
            stdio=_stdio(stdin, stdout, stderr),
        )
        prepared = prepare(bundle, container_id, options)
        process = prepared.config.process
        if process is not None and process.terminal and console < 0:
            raise UsageError(
                "the container wants a terminal", hint="pass a socket as console, or set it to false"
            )
        create_container(self.store, prepared, options, observe)
        return Container(self, container_id)

    def run(
        self,
        bundle: str,
        container_id: str,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Create, start, wait for the end and delete; the exit code, or 128 + the signal that ended it.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds; it has been killed and deleted then.
            And as `create` and `start`.
        """
        container = self.create(bundle, container_id, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            container.start()
            code = container.wait(timeout)
        except BaseException:
            container.delete(force=True)
            container.reap()
            raise
        container.delete()
        return 0 if code is None else code

    def container(self, container_id: str) -> "Container":
        """A container that is there already.

        Raises:
            StateError: it is not.
        """
        self.store.load(container_id)
        return Container(self, container_id)

    def containers(self) -> "list[ContainerStatus]":
        """The status of every container."""
        return [_status(document) for document in list_containers(self.store)]

    def plan(self, bundle: str) -> "list[PlannedStep]":
        """What would be done to make a container of a bundle, step by step; nothing is touched.

        Raises:
            SpecError: config.json is wrong.
        """
        options = CreateOptions(cgroup_manager=self.cgroup_manager)
        lines = plan_lines(prepare(bundle, "container", options).plan)
        return [
            PlannedStep(lane=lane, number=number, does=does, origin=origin)
            for lane, number, does, origin, _ in lines
        ]

    def validate(self, bundle: str, *, ask_host: bool = True) -> list[Fault]:
        """Every fault of a bundle at once; without `ask_host` those that do not depend on this machine."""
        path = os.path.abspath(bundle)
        text = read_text(f"{path}/config.json")
        return find_faults(text, path, cgroup_manager=self.cgroup_manager, ask_host=ask_host)

    def features(self) -> dict[str, object]:
        """What this runtime can do, as runtime-spec's features document."""
        return features()


class Container:
    """One container of a runtime, by its id; the object holds nothing that would have to be given back."""

    def __init__(self, runtime: Runtime, container_id: str) -> None:
        self.runtime = runtime
        self.id = container_id
        self._code: int | None = None

    def state(self) -> ContainerStatus:
        """What it is doing now.  StateError if it is not there any more."""
        return _status(container_state(self.runtime.store, self.id))

    def start(self) -> None:
        """Run the user's process; returns when it has been executed.

        Raises:
            StateError: it is not waiting for that.  HostError: the process could not be executed.
        """
        start_container(self.runtime.store, self.id)

    def kill(self, signal: "int | str" = "TERM", *, every_process: bool = False) -> None:
        """Send a signal to its first process, or to all of them.  StateError if it does not run."""
        number = signal if isinstance(signal, int) else signal_number(signal)
        kill_container(self.runtime.store, self.id, number, every_process=every_process)

    def pause(self) -> None:
        """Freeze all of its processes.  StateError if it does not run."""
        pause_container(self.runtime.store, self.id)

    def resume(self) -> None:
        """Let it go on.  StateError if it is not paused."""
        resume_container(self.runtime.store, self.id)

    def update(self, resources: Resources) -> None:
        """Change its limits, all that are named or none.  StateError, SpecError, StepError."""
        update_container(self.runtime.store, self.id, resources)

    def processes(self) -> list[int]:
        """The pids of its processes, as this process sees them."""
        return processes_in(self.runtime.store.load(self.id).cgroup_directories)

    def statistics(self) -> dict[str, object]:
        """What its cgroups count, in the form of runc's events."""
        return read_statistics(self.runtime.store.load(self.id).cgroup_paths)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until its first process has ended; its exit code, or 128 + the signal that ended it.

        None if the code cannot be known, because another process has created the container.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        if self._code is not None:
            return self._code
        state = self.runtime.store.load(self.id)
        try:
            descriptor = open_process(state.pid, state.pid_start_time)
        except ProcessLookupError:
            return self._reaped(state.pid)
        try:
            _wait_for(descriptor, timeout)
        finally:
            os.close(descriptor)
        return self._reaped(state.pid)

    def _reaped(self, pid: int) -> int | None:
        self._code = _exit_code(pid)
        return self._code

    def reap(self) -> None:
        """Let the kernel forget the ended children that were processes of this container; no error without any."""
        if self._code is None and self.runtime.store.exists(self.id):
            self._reaped(self.runtime.store.load(self.id).pid)

    def exec(
        self,
        arguments: "Sequence[str]",
        *,
        environment: "Mapping[str, str] | None" = None,
        directory: str = "",
        user: str = "",
        capture: bool = False,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        timeout: float | None = None,
    ) -> Finished:
        """Run one more process in it and wait for its end; with `capture` what it writes is kept.

        `user` is UID[:GID].  Signals to this process are not passed on.

        Raises:
            StateError: it does not run.  HostError, StepError: the process could not be started.
            TimeoutError: it has not ended after `timeout` seconds; it has been killed then.
        """
        values = {
            "env": [f"{name}={value}" for name, value in (environment or {}).items()],
            "cwd": [directory] if directory else [],
            "user": [user] if user else [],
            "detach": ["true"],
        }
        given = {name: value for name, value in values.items() if value}
        options = GlobalOptions(root=self.runtime.root, cgroup_manager=self.runtime.cgroup_manager)
        execution = prepare_execution(Arguments([self.id, *arguments], given), options)
        kept = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("output", "errors")] if capture else []
        try:
            execution.stdio = _stdio(stdin, *kept) if capture else _stdio(stdin, stdout, stderr)
            code = _run_child(execution.launch(), timeout)
            output, errors = (_content(descriptor) for descriptor in kept) if kept else (b"", b"")
            return Finished(code=code, output=output, errors=errors)
        finally:
            for descriptor in kept:
                os.close(descriptor)

    def delete(self, *, force: bool = False) -> list[str]:
        """Remove what is left of it; with `force` it is killed first, and it is no error if it is gone.

        Returns warnings.  Raises:
            StateError: it is running, or not there.
        """
        store = self.runtime.store
        pid = store.load(self.id).pid if store.exists(self.id) else 0
        warnings = delete_container(store, self.id, force=force)
        if self._code is None and pid:
            self._reaped(pid)
        return warnings


def _stdio(stdin: int | None, stdout: int | None, stderr: int | None) -> tuple[int, ...]:
    """Descriptors for a container, () if all are this process's own."""
    if stdin is None and stdout is None and stderr is None:
        return ()
    given = (stdin, stdout, stderr)
    return tuple(number if descriptor is None else descriptor for number, descriptor in enumerate(given))


def _status(document: dict[str, object]) -> ContainerStatus:
    annotations = document.get("annotations")
    return ContainerStatus(
        id=str(document["id"]),
        status=str(document["status"]),
        pid=int(str(document["pid"])),
        bundle=str(document["bundle"]),
        rootfs=str(document["rootfs"]),
        created=str(document["created"]),
        annotations=dict(annotations) if isinstance(annotations, dict) else {},
    )


def _wait_for(descriptor: int, timeout: float | None) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(None if timeout is None else max(0.0, timeout) * 1000):
        raise TimeoutError(f"not ended after {timeout} seconds")


def _run_child(pid: int, timeout: float | None) -> int:
    """Wait for a child, and kill it when the time is over."""
    descriptor = os.pidfd_open(pid)
    try:
        _wait_for(descriptor, timeout)
    except BaseException:
        os.kill(pid, 9)
        _exit_code(pid)
        raise
    finally:
        os.close(descriptor)
    return _exit_code(pid) or 0


def _exit_code(pid: int) -> int | None:
    """The exit code of an ended child, None if it is no child of ours or somebody else has waited for it."""
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None
    return 128 - code if code < 0 else code


def _content(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
