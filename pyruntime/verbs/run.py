"""pyruntime run: create, start, and in the foreground wait and delete."""

import os

from pyruntime.execute.foreground import SignalForwarding, become_subreaper, wait_in_foreground
from pyruntime.execute.session import StartedExecutor
from pyruntime.store.state import ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs.create import read_create_options
from pyruntime.verbs.creation import (
    CreateOptions,
    create_container,
    load_all,
    prepare,
    start_executor,
)
from pyruntime.verbs.delete import delete_container
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option
from pyruntime.verbs.launching import (
    LAUNCH_OPTIONS,
    check_console,
    pidfd_connection,
    pidfd_receiver,
    step_observer,
    warn_of_tolerated,
)
from pyruntime.verbs.start import run_poststart
from pyruntime.verbs.waiting import wait_and_delete

USAGE = "[options] <container-id>"
OPTIONS = (
    *LAUNCH_OPTIONS,
    Option(names=("detach", "d"), help="return once the container runs"),
    Option(names=("keep",), help="do not delete the container when it has ended"),
    Option(names=("no-subreaper",), help="do not become the parent of orphaned processes"),
)
_NEW_PID = 0x20000000


def run(arguments: Arguments, options: GlobalOptions) -> int:
    create = read_create_options(arguments, options).replace(starts=True)
    if arguments.flag("explain"):
        from pyruntime.verbs.explain import print_plan

        print_plan(prepare(arguments.get("bundle", "."), arguments.positional[0], create).plan)
        return 0
    with start_executor(create, report_steps=options.report_steps) as executor:
        return _run(arguments, options, create, executor)


def _run(
    arguments: Arguments, options: GlobalOptions, create: CreateOptions, executor: StartedExecutor
) -> int:
    container_id, detached = arguments.positional[0], arguments.flag("detach")
    prepared = prepare(arguments.get("bundle", "."), container_id, create, executor)
    store = Store(options.root)
    process = prepared.config.process
    warn_of_tolerated(prepared, options)
    terminal = process is not None and process.terminal
    path = check_console(arguments, terminal=terminal, detached=detached)
    ours = theirs = -1
    if path or pidfd_receiver(arguments, prepared.config.annotations):
        load_all(prepared.plan, store)
    if terminal:
        from pyruntime.execute.terminal import connect_console_socket, console_pair

        ours, theirs = (-1, connect_console_socket(path)) if path else console_pair()
    observe = step_observer(options, prepared.plan)
    create = create.replace(
        console_fd=theirs, pidfd_fd=pidfd_connection(arguments, prepared.config.annotations)
    )
    if detached:
        _run_poststart_or_delete(store, create_container(store, prepared, create, observe, executor))
        return 0
    # With a pid namespace of its own every orphan of the container goes to its init.
    if not prepared.plan.namespaces & _NEW_PID and not arguments.flag("no-subreaper"):
        become_subreaper()
    signals = SignalForwarding()
    try:
        state = create_container(store, prepared, create, observe, executor)
        master = _master(ours, theirs)
        _run_poststart_or_delete(store, state)
        if arguments.flag("keep"):
            return wait_in_foreground(state.pid, signals, master=master)
        return wait_and_delete(store, state, signals, master=master)
    finally:
        signals.close()


def _master(ours: int, theirs: int) -> int:
    """The master of the container's pty, or -1 if it has none."""
    if ours < 0:
        return -1
    from pyruntime.execute.terminal import take_master

    os.close(theirs)
    return take_master(ours)


def _run_poststart_or_delete(store: Store, state: ContainerState) -> None:
    if not state.has_poststart:
        return
    try:
        run_poststart(store, state)
    except BaseException:
        delete_container(store, state.id, force=True)
        raise
