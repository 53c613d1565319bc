"""pyruntime mounts: add mounts to a running container, or take them off it, as crun does."""

import os

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError, StateError, UsageError
from pyruntime.base.jsonio import read_document
from pyruntime.base.record import Record
from pyruntime.execute.session import INIT_FD, descriptor_base
from pyruntime.execute.steps import run_to_end
from pyruntime.host.cgroups import read_cgroup_layout
from pyruntime.host.facts import read_host_facts
from pyruntime.host.process import open_process
from pyruntime.plan.hot_mounts import plan_add, plan_remove
from pyruntime.plan.view import NAMESPACE_FLAGS, ContainerView, read_namespaces
from pyruntime.spec.config import Mount
from pyruntime.spec.load import decode_config
from pyruntime.spec.rules import check_rules
from pyruntime.store.state import ContainerState
from pyruntime.store.status import CREATING, STOPPED, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "add|remove <container-id> <file: a list as in config.json, - for standard input>"
OPTIONS: tuple[Option, ...] = ()


class MountList(Record):
    """The entries of a file of mounts; to take mounts off only their destinations count."""

    mounts: tuple[Mount, ...]


def run(arguments: Arguments, options: GlobalOptions) -> int:
    action, container_id, path = arguments.positional
    if action not in ("add", "remove"):
        raise UsageError(f"unknown command {action}", hint="use add or remove")
    change_mounts(Store(options.root), container_id, read_mounts(path), remove=action == "remove")
    return 0


def read_mounts(path: str) -> tuple[Mount, ...]:
    """The mounts of a file ("-": standard input): a list as in config.json, or an object with `mounts`.

    Raises:
        SpecError: it is something else.
        HostError: it cannot be read.
    """
    document = read_document(path)
    return decode(MountList, document if isinstance(document, dict) else {"mounts": document}).mounts


def change_mounts(store: Store, container_id: str, mounts: tuple[Mount, ...], *, remove: bool) -> None:
    """Mount these in a container, in order, or unmount their destinations in reverse.

    Raises:
        StateError: there is no such container, or it is not running.
        SpecError: an entry makes no sense.
        StepError: the kernel refuses one; those before it stay.
    """
    with store.lock(container_id):
        state = store.load(container_id)
        if status_of(state, store.directory(container_id)) in (CREATING, STOPPED):
            raise StateError("container not running", where=container_id)
        if not state.namespaces & NAMESPACE_FLAGS["mount"]:
            hint = "mount on the host: it is the same"
            raise StateError("the container has no mount namespace of its own", where=container_id, hint=hint)
        view = _view(store, state, mounts)
        if not remove:
            check_rules(view.config)
        plan = plan_remove if remove else plan_add
        operations = plan(view, namespaces=state.namespaces, init_fd=descriptor_base(3) + INIT_FD)
        try:
            init = open_process(state.pid, state.pid_start_time)
        except ProcessLookupError:
            raise StateError("container not running", where=container_id) from None
        try:
            run_to_end(operations, {INIT_FD: init})
        finally:
            os.close(init)


def _view(store: Store, state: ContainerState, mounts: tuple[Mount, ...]) -> ContainerView:
    config = decode_config(store.load_config_text(state.id)).replace(mounts=mounts)
    if not mounts:
        raise SpecError("there are no mounts in the file", where="/mounts")
    created, joined = read_namespaces(config)
    return ContainerView(
        config=config,
        container_id=state.id,
        bundle=state.bundle,
        facts=read_host_facts(),
        cgroup_layout=read_cgroup_layout(),
        cgroup_paths=state.cgroup_paths,
        created=created,
        joined=joined,
    )
