"""The status of a container, from what the kernel says about it."""

import os

from pyruntime.base.jsonio import dumps
from pyruntime.host.freezer import is_frozen
from pyruntime.host.process import is_alive
from pyruntime.store.state import ContainerState
from pyruntime.store.store import FIFO, UNFINISHED_FIFO

CREATING = "creating"
CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"


def status_of(state: ContainerState, directory: str) -> str:
    """creating, created, running, paused or stopped; `directory` is the container's in the store.

    The order of questions is runc's, so that a frozen container is paused also before its start.
    """
    if state.pid == 0:
        return CREATING if state.creating else STOPPED
    if not is_alive(state.pid, state.pid_start_time):
        return STOPPED
    if is_frozen(state.cgroup_paths):
        return PAUSED
    if os.access(f"{directory}/{FIFO}", os.F_OK):
        return CREATED
    unfinished = state.creating or os.access(f"{directory}/{UNFINISHED_FIFO}", os.F_OK)
    return CREATING if unfinished else RUNNING


def hook_document(state: ContainerState, status: str, pid: int) -> bytes:
    """The state that hooks get on standard input, in one line (runtime.md of the spec, "State")."""
    document: dict[str, object] = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "status": status,
        "pid": pid,
        "bundle": state.bundle,
    }
    if state.annotations:
        document["annotations"] = state.annotations
    return dumps(document).encode()


def state_document(state: ContainerState, status: str) -> dict[str, object]:
    """What `state` and `list` print, in runc's order of fields; they add the owner."""
    document: dict[str, object] = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": 0 if status == STOPPED else state.pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
    }
    if state.annotations:
        document["annotations"] = state.annotations
    return document
