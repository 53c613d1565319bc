"""What `run` and `restore` do in the foreground: wait for the container, and remove it."""

from pyruntime.base.errors import StateError
from pyruntime.execute.foreground import SignalForwarding, wait_in_foreground
from pyruntime.store.state import ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs.delete import destroy


def wait_and_delete(
    store: Store, state: ContainerState, signals: SignalForwarding, *, master: int = -1
) -> int:
    """Wait in the foreground until the init has ended and remove the container; returns the exit code.

    It is no error if somebody else removes the container, even if its id is in use again.
    """
    try:
        # Now, while the container is at work, and not at its end.
        held = store.hold(state)
    except StateError:
        return wait_in_foreground(state.pid, signals, master=master)
    with held:
        code = wait_in_foreground(state.pid, signals, master=master)
        signals.close()
        if held.acquire():
            destroy(store, state)
    return code
