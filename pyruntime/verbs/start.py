"""pyruntime start: let a created container's init run the user's process."""

import os
import select

from pyruntime.base.errors import ExpectedError, HostError, StateError, errno_text
from pyruntime.base.files import read_file
from pyruntime.host.freezer import is_frozen
from pyruntime.host.process import end_process, open_process, wait_for_end
from pyruntime.store.state import ContainerState
from pyruntime.store.status import (
    CREATED,
    CREATING,
    PAUSED,
    RUNNING,
    STOPPED,
    hook_document,
    status_of,
)
from pyruntime.store.store import FAILURE, FIFO, Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "<container-id>"
OPTIONS: tuple[Option, ...] = ()

_REFUSALS = {
    CREATING: "cannot start a container that is still being created",
    RUNNING: "cannot start an already running container",
    PAUSED: "cannot start a paused container",
    STOPPED: "cannot start a container that has stopped",
}
_END_OF_INIT_MS = 1000


def run(arguments: Arguments, options: GlobalOptions) -> int:
    start_container(Store(options.root), arguments.positional[0])
    return 0


def start_container(store: Store, container_id: str) -> None:
    """Run the user's process; returns when it has been executed and the poststart hooks have run.

    Raises:
        StateError: the container is not in the state created.
        HostError: the process could not be executed, or a startContainer hook failed; it is stopped then.
        StepError: a poststart hook failed; the container has been killed.
    """
    with store.lock(container_id):
        state = store.load(container_id)
        directory = store.directory(container_id)
        # The questions of status_of, each asked by what is to be done anyway.
        try:
            init = open_process(state.pid, state.pid_start_time)
        except ProcessLookupError:
            refusal = CREATING if state.creating and not state.pid else STOPPED
            raise StateError(_REFUSALS[refusal], where=container_id) from None
        try:
            if is_frozen(state.cgroup_paths):
                raise StateError(_REFUSALS[PAUSED], where=container_id)
            _open_gate(directory, init, state)
            _raise_failure(directory, init, container_id)
        finally:
            os.close(init)
        if state.has_poststart:
            run_poststart(store, state)


def _open_gate(directory: str, init: int, state: ContainerState) -> None:
    """Let the init go on and wait until it has executed the user's process, or died.

    The init holds the fifo open, close-on-exec: once nobody reads it any more, the deed is done.
    """
    path = f"{directory}/{FIFO}"
    try:
        gate = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        status = status_of(state, directory)
        # If it is there by now the create has just ended.
        raise StateError(_REFUSALS[CREATING if status == CREATED else status], where=state.id) from None
    except OSError:
        # No reader: the init is gone.
        raise StateError(_REFUSALS[STOPPED], where=state.id) from None
    try:
        os.write(gate, b"0")
        os.unlink(path)
        poll = select.poll()
        poll.register(gate, 0)  # POLLERR is told without being asked for
        poll.register(init, select.POLLIN)
        poll.poll()
    except OSError as error:
        raise HostError(
            f"cannot open the gate of the init: {errno_text(error.errno or 0)}", where=path
        ) from None
    finally:
        os.close(gate)


def _raise_failure(directory: str, init: int, container_id: str) -> None:
    """What the init left behind if it could not become the user's process."""
    path = f"{directory}/{FAILURE}"
    try:
        if os.stat(path).st_size == 0:
            return
    except FileNotFoundError:
        return
    text = read_file(path).decode("utf-8", "surrogateescape").strip()
    if text:
        wait_for_end(init, _END_OF_INIT_MS)
        prefix = "unable to start container process: "
        raise HostError(text if text.startswith(prefix) else prefix + text, where=container_id)


def run_poststart(store: Store, state: ContainerState) -> None:
    """Run the poststart hooks; if one fails the container is killed (runtime.md of the spec, "Lifecycle")."""
    from pyruntime.execute.hooks import HookLogs, run_hooks
    from pyruntime.spec.load import decode_config

    try:
        hooks = decode_config(store.load_config_text(state.id)).hooks
        if hooks is not None:
            # A process that has ended already was running when the hooks were due.
            document = hook_document(state, RUNNING, state.pid)
            run_hooks(
                hooks.poststart,
                name="poststart",
                state=document,
                bundle=state.bundle,
                logs=HookLogs.of(state.annotations),
            )
    except ExpectedError:
        end_process(state.pid, state.pid_start_time)
        raise
