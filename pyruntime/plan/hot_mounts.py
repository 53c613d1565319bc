"""Mounts that are added to a running container, or taken off it.

The sources are opened on the host, before the container's namespaces are joined; after that no path of the host is
looked up any more, nor any of the container's outside of the one door for paths in its root.
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.paths import clean_path
from pyruntime.plan.mounts import LAST_SLOT, plan_mounts
from pyruntime.plan.operations import (
    BIND_REAL_DIRECTORY,
    MOUNT_COPY_UP,
    AddFilesystem,
    BecomeRoot,
    Bind,
    BindTree,
    Clone,
    CloseInherited,
    EnterRoot,
    JoinProcess,
    Mount,
    OpenTree,
    Operation,
    RemountFilesystem,
    SetDumpable,
    SetUmask,
    Unmount,
)
from pyruntime.plan.view import NAMESPACE_FLAGS, ContainerView

_USER = NAMESPACE_FLAGS["user"]


def plan_add(view: ContainerView, *, namespaces: int, init_fd: int) -> tuple[Operation, ...]:
    """Plan the mounts of `view.config` for a container that runs.

    `namespaces` are those of the container that differ from the runtime's; `init_fd` is a pidfd of its init.

    Raises:
        SpecError: an entry makes no sense, or asks for what only a create can do.
    """
    planned = plan_mounts(view)
    before: list[Operation] = list(planned.prepare)
    inside: list[Operation] = []
    for step in (*planned.mounts, *planned.finish):
        if isinstance(step, Bind):
            slot = LAST_SLOT - sum(isinstance(each, OpenTree) for each in before)
            before.append(_open_source(step, slot))
            inside.append(BindTree(origin=step.origin, slot=slot, path=step.path))
        elif isinstance(step, Mount):
            inside.append(_add_filesystem(step))
        elif isinstance(step, RemountFilesystem):
            raise _refusal("a filesystem cannot be remounted", step, 'write "bind" beside "remount"')
        else:
            inside.append(step)
    return (*_front(), *before, *_enter(namespaces, init_fd), *inside)


def plan_remove(view: ContainerView, *, namespaces: int, init_fd: int) -> tuple[Operation, ...]:
    """Plan to take off what is mounted on the destinations of `view.config`, the last one first."""
    steps = [
        Unmount(origin=f"/mounts/{index}/destination", path=clean_path(mount.destination))
        for index, mount in enumerate(view.config.mounts)
    ]
    return (*_front(), *_enter(namespaces, init_fd), *reversed(steps))


def _front() -> list[Operation]:
    return [CloseInherited(first=3), SetUmask(mask=0)]


def _enter(namespaces: int, init_fd: int) -> list[Operation]:
    # Not to be looked into from inside; and a child, because what is mounted may depend on the pid namespace.
    steps: list[Operation] = [SetDumpable(dumpable=0), JoinProcess(pidfd_fd=init_fd, flags=namespaces)]
    steps.append(Clone(flags=0))
    if namespaces & _USER:
        steps.append(BecomeRoot())
    return [*steps, EnterRoot()]


def _open_source(step: Bind, slot: int) -> OpenTree:
    if step.how & ~BIND_REAL_DIRECTORY:
        what = "src-nofollow, dest-nofollow and copy-symlink are for mounts of a new container"
        raise _refusal(what, step, "name the target of the link")
    return OpenTree(origin=step.origin, slot=slot, host_path=step.host_path, recursive=step.recursive)


def _add_filesystem(step: Mount) -> AddFilesystem:
    if step.how & MOUNT_COPY_UP:
        raise _refusal("tmpcopyup is for mounts of a new container", step, "leave it out")
    return AddFilesystem(
        origin=step.origin,
        type=step.type,
        source=step.source,
        path=step.path,
        flags=step.flags,
        data=step.data,
    )


def _refusal(what: str, step: Operation, hint: str) -> SpecError:
    return SpecError(what, where=step.origin, hint=hint)
