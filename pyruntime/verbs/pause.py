"""pyruntime pause: freeze all processes of a container."""

from pyruntime.base.errors import StateError
from pyruntime.execute.cgroups import set_frozen
from pyruntime.store.status import CREATED, RUNNING, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "<container-id>"
OPTIONS: tuple[Option, ...] = ()


def run(arguments: Arguments, options: GlobalOptions) -> int:
    pause_container(Store(options.root), arguments.positional[0])
    return 0


def pause_container(store: Store, container_id: str) -> None:
    """Freeze every process of a running or created container.

    Raises:
        StateError: the container is in another state.
    """
    with store.lock(container_id):
        state = store.load(container_id)
        _require(status_of(state, store.directory(container_id)), container_id)
        set_frozen(state.cgroup_directories, True)


def _require(status: str, container_id: str) -> None:
    if status not in (RUNNING, CREATED):
        raise StateError("container not running", where=container_id)
