"""pyruntime state: show what a container is doing."""

from pyruntime.base.jsonio import dumps
from pyruntime.store.status import state_document, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "<container-id>"
OPTIONS: tuple[Option, ...] = ()


def run(arguments: Arguments, options: GlobalOptions) -> int:
    document = container_state(Store(options.root), arguments.positional[0])
    write_output(dumps(document, indent=2) + "\n")
    return 0


def container_state(store: Store, container_id: str) -> dict[str, object]:
    """The state as in the spec, with rootfs, created and owner as runc adds them.

    Raises:
        StateError: there is no such container.
    """
    state = store.load(container_id)
    return {**state_document(state, status_of(state, store.directory(container_id))), "owner": ""}
