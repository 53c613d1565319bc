"""pyruntime delete: remove what a container has left."""

import os

from pyruntime.base.errors import StateError
from pyruntime.execute.cgroups import is_frozen, remove_cgroups, set_frozen, signal_all
from pyruntime.execute.hooks import run_all_hooks
from pyruntime.host.process import open_process, signal_process, wait_for_end
from pyruntime.spec.load import decode_config
from pyruntime.store.state import ContainerState
from pyruntime.store.status import CREATED, PAUSED, STOPPED, hook_document, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[--force] <container-id>"
OPTIONS = (
    Option(names=("force", "f"), help="kill it first if it runs; one that is not there is no error"),
    Option(names=("regex", "r"), help="ID is a regular expression: delete all that match"),
)
_PATIENCE_MS = 10_000


def run(arguments: Arguments, options: GlobalOptions) -> int:
    force = arguments.flag("force")
    for container_id in _wanted(Store(options.root), arguments):
        for warning in delete_container(Store(options.root), container_id, force=force):
            options.warn(warning)
    return 0


def _wanted(store: Store, arguments: Arguments) -> list[str]:
    pattern = arguments.positional[0]
    if not arguments.flag("regex"):
        return [pattern]
    import re

    return [container_id for container_id in store.list_ids() if re.search(pattern, container_id)]


def delete_container(store: Store, container_id: str, *, force: bool = False) -> list[str]:
    """Remove a stopped container, a created one (killed first), or with `force` any; returns warnings.

    Also finishes what a killed `create` has left half-made.

    Raises:
        StateError: there is no such container, or it is running and `force` is not given.
    """
    try:
        lock = store.lock(container_id)
    except StateError:
        if force and not store.exists(container_id):
            return []
        raise
    with lock:
        return _delete(store, container_id, force=force)


def _delete(store: Store, container_id: str, *, force: bool) -> list[str]:
    try:
        state, config_text = store.load(container_id), store.load_config_text(container_id)
    except StateError:
        # `create` was killed before its first record: then nothing else exists either.
        if not store.exists(container_id):
            if force:
                return []
            raise
        store.remove(container_id)
        if force:
            return []
        raise
    status = status_of(state, store.directory(container_id))
    if status == PAUSED and not force:
        hint = f"resume it, or use: pyruntime delete --force {container_id}"
        raise StateError("container cannot be destroyed while paused", where=container_id, hint=hint)
    if status not in (STOPPED, CREATED) and not force:
        hint = f"stop it first, or use: pyruntime delete --force {container_id}"
        what = f"cannot delete container {container_id} that is not stopped: {status}"
        raise StateError(what, hint=hint)
    if status != STOPPED:
        _kill(state)
    destroy(store, state)
    return _run_poststop(state, config_text) if state.has_poststop else []


def _kill(state: ContainerState) -> None:
    try:
        pidfd = open_process(state.pid, state.pid_start_time)
    except ProcessLookupError:
        return
    try:
        signal_process(pidfd, 9)
        if is_frozen(state.cgroup_directories):
            set_frozen(state.cgroup_directories, False)
        if not wait_for_end(pidfd, _PATIENCE_MS):
            hint = f"process {state.pid} hangs in the kernel: see /proc/{state.pid}/stack"
            raise StateError("container init still running", where=state.id, hint=hint)
    finally:
        os.close(pidfd)


def destroy(store: Store, state: ContainerState) -> None:
    """Remove the cgroups and the record of a container without processes of its own."""
    if not state.has_own_pid_namespace or state.creating:
        signal_all(state.cgroup_directories, 9)
    remove_cgroups(state.cgroup_directories)
    store.remove(state.id)


def _run_poststop(state: ContainerState, config_text: bytes) -> list[str]:
    hooks = decode_config(config_text).hooks
    if hooks is None:
        return []
    document = hook_document(state, STOPPED, 0)
    failures = run_all_hooks(hooks.poststop, name="poststop", state=document, bundle=state.bundle)
    return [str(failure) for failure in failures]
