"""pyruntime start: let a created container run its program."""

import errno
import os
import select

from pyruntime.base.errors import StateError, StepError
from pyruntime.execute.hooks import run_hooks
from pyruntime.host.process import end_process
from pyruntime.spec.load import decode_config
from pyruntime.store.state import ContainerState
from pyruntime.store.status import CREATED, RUNNING, STOPPED, hook_document, status_of
from pyruntime.store.store import FAILURE, FIFO, Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "<container-id>"
OPTIONS: tuple[Option, ...] = ()


def run(arguments: Arguments, options: GlobalOptions) -> int:
    start_container(Store(options.root), arguments.positional[0])
    return 0


def start_container(store: Store, container_id: str) -> None:
    """Open the start gate and return once the container's program has been executed.

    Raises:
        StateError: the container is not in the state created.
        StepError: a startContainer hook or the exec itself failed; the container is stopped then.
    """
    with store.lock(container_id):
        state = store.load(container_id)
        status = status_of(state, store.directory(container_id))
        if status == STOPPED:
            hint = f"delete it: pyruntime delete {container_id}"
            raise StateError("cannot start a container that has stopped", where=container_id, hint=hint)
        if status != CREATED:
            raise StateError("cannot start an already running container", where=container_id)
        _open_gate(store.directory(container_id), state)
        if state.has_poststart:
            _run_poststart(store, state)


def _open_gate(directory: str, state: ContainerState) -> None:
    """One byte into the fifo, then wait until nobody reads it any more.

    The init holds the fifo open until it executes the program (close-on-exec) or dies, so this cannot hang on a dead
    init, and what goes wrong on the way is known before `start` returns.
    """
    try:
        gate = os.open(f"{directory}/{FIFO}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise StateError("cannot start a container that has stopped", where=state.id) from None
    try:
        os.write(gate, b"0")
        os.unlink(f"{directory}/{FIFO}")
        poll = select.poll()
        poll.register(gate, 0)  # POLLERR is always reported: the last reader has closed
        poll.poll()
    finally:
        os.close(gate)
    with open(f"{directory}/{FAILURE}", "rb") as file:
        failure = file.read(4096).decode("utf-8", "replace").strip()
    if failure:
        raise StepError(f"unable to start container process: {failure}", where="/process/args")


def _run_poststart(store: Store, state: ContainerState) -> None:
    hooks = decode_config(store.load_config_text(state.id)).hooks
    if hooks is None:
        return
    try:
        document = hook_document(state, RUNNING, state.pid)
        run_hooks(hooks.poststart, name="poststart", state=document, bundle=state.bundle)
    except StepError:
        end_process(state.pid, state.pid_start_time)
        raise
