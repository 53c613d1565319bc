"""Restoring a container: its record and cgroups are made as in a create, its processes by CRIU."""

import os

from pyruntime.base import restart
from pyruntime.base.errors import HostError, SpecError, errno_text
from pyruntime.execute.criu.dump import make_directories
from pyruntime.execute.criu.restore import RestoreSteps, raise_loopback, restore
from pyruntime.execute.sockets import send_descriptor
from pyruntime.plan.criu import CriuOptions, Saved, has_own_mounts
from pyruntime.plan.view import NAMESPACE_FLAGS, read_namespaces
from pyruntime.store.state import ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs.creation import CreateOptions, Creation, Prepared, write_pid_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def restore_container(
    store: Store,
    prepared: Prepared,
    options: CreateOptions,
    criu: CriuOptions,
    keep_master: "Callable[[int], None] | None" = None,
) -> ContainerState:
    """Bring the container back; it runs when this returns, and its init is a child of this process.

    The master of its terminal goes to `options.console_fd`; without one, to `keep_master`.

    Raises:
        StateError: the id is taken.
        HostError: CRIU is missing or fails.
        ExpectedError: something else failed.  In every case nothing is left then.
    """
    if not has_own_mounts(prepared.plan.operations):
        hint = 'add {"type": "mount"} to linux.namespaces'
        raise SpecError("restore needs a mount namespace", where="/linux/namespaces", hint=hint)
    if not os.path.isdir(criu.image_path):
        raise HostError(f"open {criu.image_path}: {errno_text(2)}", hint="--image-path names a checkpoint")
    make_directories(criu.replace(parent_path=""))
    if prepared.plan.cgroup.unit:
        from pyruntime.verbs.systemd_driver import load_systemd_driver

        load_systemd_driver()
    if prepared.plan.net_devices:
        __import__("pyruntime.execute.net_devices")
    restart.forbid()
    creation = Creation(store, prepared, store.reserve(prepared.container_id))
    try:
        return _carry_out(creation, prepared, options, criu, keep_master)
    except BaseException:
        creation.undo()
        raise


def _carry_out(
    creation: Creation,
    prepared: Prepared,
    options: CreateOptions,
    criu: CriuOptions,
    keep_master: "Callable[[int], None] | None",
) -> ContainerState:
    created, joined = read_namespaces(prepared.config)

    def restored(pid: int) -> None:
        if _has_time_namespace(pid):
            # CRIU sets the clocks of what it restores back, and needs a namespace for that.
            namespaces = creation.state.namespaces | NAMESPACE_FLAGS["time"]
            creation.state = creation.state.replace(namespaces=namespaces)
        creation.started(pid)
        if created & NAMESPACE_FLAGS["network"]:
            raise_loopback(pid)

    def master(descriptor: int) -> None:
        if options.console_fd >= 0:
            send_descriptor(options.console_fd, b"/dev/ptmx", descriptor)
            os.close(options.console_fd)
        elif keep_master is not None:
            keep_master(os.dup(descriptor))

    creation.save()
    steps = RestoreSteps(
        cgroups=creation.make_cgroups, namespaces=creation.run_hooks, restored=restored, master=master
    )
    saved = Saved(rootfs=creation.state.rootfs, annotations=creation.state.annotations)
    restore(saved, creation.directory, prepared.plan, joined, criu, steps)
    if options.pid_file:
        write_pid_file(options.pid_file, creation.state.pid)
    return creation.state


def _has_time_namespace(pid: int) -> bool:
    """Whether a process is in another time namespace than this one."""
    try:
        return os.stat(f"/proc/{pid}/ns/time").st_ino != os.stat("/proc/self/ns/time").st_ino
    except OSError:
        return False
