"""pyruntime delete: remove what is left of a container."""

import os
import time

from pyruntime.base.errors import ExpectedError, SpecError, StateError
from pyruntime.host.process import open_process, wait_for_end
from pyruntime.store.state import ContainerState
from pyruntime.store.status import CREATED, STOPPED, hook_document, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option
from pyruntime.verbs.kill import matching_ids, signal_init, thaw

USAGE = "[--force] <container-id> [container-id...]"
OPTIONS: tuple[Option, ...] = (
    Option(names=("force", "f"), help="kill it if it is still running; an unknown id is no error"),
    Option(names=("regex", "r"), help="the id is a regular expression: delete each container that matches"),
)

_PATIENCE_MS = 10_000  # for the end of a killed init
_STRAGGLERS_MS = 2_000  # for the end of processes that a killed create has left
_SIGKILL = 9


def run(arguments: Arguments, options: GlobalOptions) -> int:
    store = Store(options.root)
    chosen = list(arguments.positional)
    if arguments.flag("regex"):
        chosen = [match for pattern in chosen for match in matching_ids(store, pattern)]
    for container_id in chosen:
        for warning in delete_container(store, container_id, force=arguments.flag("force")):
            options.warn(warning)
    return 0


def delete_container(store: Store, container_id: str, *, force: bool = False) -> list[str]:
    """Remove a stopped container, a created one (killed first), or with `force` any; returns warnings.

    With `force` it also finishes what a killed create has left half made.

    Raises:
        StateError: there is no such container (no error with `force`), or it is running.
        ExpectedError: something of it cannot be removed.
    """
    if force and not store.exists(container_id):
        return []
    try:
        if force:
            # Before the lock: a start that hangs in a hook holds it until its init dies.
            _kill(_load(store, container_id))
        with store.lock(container_id):
            state = _load(store, container_id) if force else store.load(container_id)
            if not force:
                _require_deletable(state, status_of(state, store.directory(container_id)))
            if state.systemd_unit:
                from pyruntime.verbs.systemd_driver import load_systemd_driver

                load_systemd_driver()
            _kill(state)
            return destroy(store, state)
    except StateError:
        # Somebody else may have been faster.
        if force and not store.exists(container_id):
            return []
        raise


def _load(store: Store, container_id: str) -> ContainerState:
    """The state, or one that holds nothing if its create was killed before it wrote any."""
    try:
        return store.load(container_id)
    except StateError:
        if not store.exists(container_id):
            raise
        return ContainerState(oci_version="", id=container_id, bundle="", creating=True)


def _require_deletable(state: ContainerState, status: str) -> None:
    if status not in (STOPPED, CREATED):
        hint = f"stop it first, or use: pyruntime delete --force {state.id}"
        raise StateError(f"cannot delete container {state.id} that is not stopped: {status}", hint=hint)


def _kill(state: ContainerState) -> None:
    """Kill the init if it is alive, and wait for its end."""
    try:
        descriptor = open_process(state.pid, state.pid_start_time)
    except ProcessLookupError:
        return
    try:
        signal_init(state, _SIGKILL)
        if not wait_for_end(descriptor, _PATIENCE_MS):
            hint = f"process {state.pid} hangs in the kernel: see /proc/{state.pid}/stack"
            raise StateError("container init still running", where=state.id, hint=hint)
    except StateError:
        if not wait_for_end(descriptor, 0):
            raise
    finally:
        os.close(descriptor)


def destroy(store: Store, state: ContainerState) -> list[str]:
    """Remove what is left of a container whose init has ended, under its lock; returns warnings.

    In the order of the spec: the resources first, the poststop hooks at the end.

    Raises:
        ExpectedError: something of it cannot be removed.
    """
    config_text = store.load_config_text(state.id) if state.has_poststop else b""
    warnings: list[str] = []
    if state.systemd_unit:
        warnings += _stop_unit(state)
    if any(os.access(directory, os.F_OK) for directory in state.cgroup_directories):
        warnings += _remove_cgroups(state)
    if state.resctrl_removed:
        from pyruntime.execute.resctrl import remove_groups

        warnings += remove_groups(state.resctrl_removed)
    if state.rootfs_mounts >= 0:
        warnings += _unmount(state)
    store.remove(state.id)
    if state.has_poststop:
        warnings += _run_poststop(state, config_text)
    return warnings


def _stop_unit(state: ContainerState) -> list[str]:
    """A unit goes with its last process unless that has failed; the cgroups are removed also without systemd."""
    from pyruntime.execute.cgroups import processes_in

    deadline = time.monotonic() + _STRAGGLERS_MS / 1000
    while state.pid == 0 and processes_in(state.cgroup_directories):
        # What a killed create has left ends by itself; else the unit is one that the create has found, and not started.
        if time.monotonic() > deadline:
            return []
        time.sleep(0.002)
    try:
        from pyruntime.execute.systemd import stop_unit

        stop_unit(state.systemd_unit, of_user=state.systemd_of_user)
    except ExpectedError as error:
        return [str(error)]
    return []


def _unmount(state: ContainerState) -> list[str]:
    from pyruntime.host.mounts import unmount_to

    try:
        unmount_to(state.rootfs, state.rootfs_mounts)
    except OSError as error:
        return [f"cannot unmount {state.rootfs}: {error.strerror}"]
    return []


def _remove_cgroups(state: ContainerState) -> list[str]:
    from pyruntime.execute.cgroups import processes_in, remove_cgroups, remove_empty_cgroups, signal_all

    if remove_empty_cgroups(state.cgroup_directories):
        return []
    # Before there is an init nobody has made sure that the cgroup is this container's alone.
    is_ours = state.pid != 0
    deadline = time.monotonic() + _STRAGGLERS_MS / 1000
    while processes_in(state.cgroup_directories) and time.monotonic() < deadline:
        if is_ours:
            signal_all(state.cgroup_directories, _SIGKILL)
            thaw(state)
        # What a killed create has left ends by itself as soon as its orders stop.
        time.sleep(0.002)
    if not is_ours and processes_in(state.cgroup_directories):
        return ["the cgroup is left as it is: there are processes in it that are not the container's"]
    try:
        remove_cgroups(state.cgroup_directories)
    except ExpectedError as error:
        if is_ours:
            raise
        return [str(error)]
    return []


def _run_poststop(state: ContainerState, config_text: bytes) -> list[str]:
    from pyruntime.execute.hooks import HookLogs, run_all_hooks
    from pyruntime.spec.load import decode_config

    try:
        hooks = decode_config(config_text).hooks
    except SpecError as error:
        return [str(error)]
    if hooks is None:
        return []
    document = hook_document(state, STOPPED, 0)
    failures = run_all_hooks(
        hooks.poststop,
        name="poststop",
        state=document,
        bundle=state.bundle,
        logs=HookLogs.of(state.annotations),
    )
    return [str(failure) for failure in failures]
