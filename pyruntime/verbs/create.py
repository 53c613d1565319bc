"""pyruntime create: make a container and leave it waiting for `start`."""

import os

from pyruntime.execute.session import StartedExecutor
from pyruntime.store.store import Store
from pyruntime.verbs.creation import (
    CreateOptions,
    create_container,
    load_all,
    prepare,
    start_executor,
)
from pyruntime.verbs.interface import Arguments, GlobalOptions
from pyruntime.verbs.launching import (
    LAUNCH_OPTIONS,
    check_console,
    listen_descriptors,
    pidfd_connection,
    pidfd_receiver,
    require_descriptors,
    step_observer,
    warn_of_tolerated,
)

USAGE = "[options] <container-id>"
OPTIONS = LAUNCH_OPTIONS


def run(arguments: Arguments, options: GlobalOptions) -> int:
    create = read_create_options(arguments, options)
    if arguments.flag("explain"):
        from pyruntime.verbs.explain import print_plan

        print_plan(prepare(arguments.get("bundle", "."), arguments.positional[0], create).plan)
        return 0
    create = create.replace(root=options.root)
    with start_executor(create, report_steps=options.report_steps) as executor:
        _create(arguments, options, create, executor)
    return 0


def _create(
    arguments: Arguments, options: GlobalOptions, create: CreateOptions, executor: StartedExecutor
) -> None:
    prepared = prepare(arguments.get("bundle", "."), arguments.positional[0], create, executor)
    process = prepared.config.process
    warn_of_tolerated(prepared, options)
    path = check_console(arguments, terminal=process is not None and process.terminal, detached=True)
    if path or pidfd_receiver(arguments, prepared.config.annotations):
        load_all(prepared.plan, Store(options.root))
    if path:
        from pyruntime.execute.terminal import connect_console_socket

        create = create.replace(console_fd=connect_console_socket(path))
    create = create.replace(pidfd_fd=pidfd_connection(arguments, prepared.config.annotations))
    try:
        observe = step_observer(options, prepared.plan)
        create_container(Store(options.root), prepared, create, observe, executor)
    finally:
        if create.console_fd >= 0:
            os.close(create.console_fd)


def read_create_options(arguments: Arguments, options: GlobalOptions) -> CreateOptions:
    """The options that `create` and `run` share.

    Raises:
        UsageError: a descriptor that is to be preserved is not open.
        HostError: a package that the systemd driver needs is missing.
    """
    if options.cgroup_manager == "systemd" and not arguments.flag("explain"):
        # First of all: the program may have to start again for it, and would do everything before this twice.
        from pyruntime.verbs.systemd_driver import load_systemd_driver

        load_systemd_driver()
    listening, preserved = listen_descriptors(), arguments.number("preserve-fds")
    require_descriptors(3, listening + preserved)
    return CreateOptions(
        config_path=arguments.get("config"),
        no_pivot=arguments.flag("no-pivot"),
        no_new_keyring=arguments.flag("no-new-keyring"),
        cgroup_manager=options.cgroup_manager,
        listen_fds=listening,
        preserve_fds=preserved,
        pid_file=arguments.get("pid-file"),
    )
