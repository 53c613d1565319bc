"""pyruntime resume: let a paused container go on."""

from pyruntime.base.errors import StateError
from pyruntime.execute.cgroups import set_frozen
from pyruntime.store.status import PAUSED, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "<container-id>"
OPTIONS: tuple[Option, ...] = ()


def run(arguments: Arguments, options: GlobalOptions) -> int:
    resume_container(Store(options.root), arguments.positional[0])
    return 0


def resume_container(store: Store, container_id: str) -> None:
    """Thaw a paused container.

    Raises:
        StateError: the container is in another state.
    """
    with store.lock(container_id):
        state = store.load(container_id)
        _require(status_of(state, store.directory(container_id)), container_id)
        set_frozen(state.cgroup_directories, False)


def _require(status: str, container_id: str) -> None:
    if status != PAUSED:
        raise StateError("container not paused", where=container_id)
