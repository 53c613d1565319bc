"""What the command line and the process that plans add to a config."""

from pyruntime.base.record import Record


class LaunchOptions(Record):
    """What the command line adds to the config.

    The descriptors are numbers in the executor's process; -1 where `explain` plans without any.
    `fifo_path` and `failure_path`: what the executor opens as `fifo_fd` and `failure_fd`.
    `waits_for_start`: the init stops before its program until `start` lets it go on.
    `first_private` is the first descriptor that the container must not keep (3 + LISTEN_FDS + preserved ones).
    """

    no_pivot: bool = False
    no_new_keyring: bool = False
    waits_for_start: bool = True
    cgroup_manager: str = "cgroupfs"
    first_private: int = 3
    listen_fds: int = 0
    fifo_fd: int = -1
    fifo_path: str = ""
    failure_fd: int = -1
    failure_path: str = ""
    console_fd: int = -1
    listener_fd: int = -1
    init_fd: int = -1
    hook_out_fd: int = -1
    hook_err_fd: int = -1
