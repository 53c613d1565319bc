"""Mounts: `mounts`, in the order given, as operations.  Source: config.md, "Mounts"."""

from pyruntime.base.errors import SpecError
from pyruntime.base.paths import clean_path
from pyruntime.base.record import Record
from pyruntime.plan.cgroup_mount import plan_cgroup_mount
from pyruntime.plan.idmap import plan_idmap
from pyruntime.plan.mount_options import (
    MS_BIND,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MountOptions,
    read_options,
)
from pyruntime.plan.operations import (
    BIND_COPY_SYMLINK,
    BIND_REAL_DIRECTORY,
    BIND_SOURCE_NOFOLLOW,
    BIND_TARGET_NOFOLLOW,
    MOUNT_COPY_UP,
    MOUNT_KEEP_MODE,
    MOUNT_REAL_DIRECTORY,
    MOUNT_SLOT,
    Bind,
    BindTree,
    IdmapTree,
    MakeMappingNamespace,
    Mount,
    OpenNamespace,
    OpenTree,
    Operation,
    RemountFilesystem,
    RemountFlags,
    SetMountAttributes,
    SetPropagation,
)
from pyruntime.plan.view import ContainerView
from pyruntime.spec.annotations import MOUNT_CONTEXT
from pyruntime.spec.config import Mount as MountEntry

FIRST_MOUNT_SLOT = 8  # the slots below belong to plan/launch.py
LAST_SLOT = 63
# What every container has of the kernel's own.
_SMALL = frozenset({"proc", "tmpfs", "devpts", "mqueue", "sysfs"})
# Filesystems whose files the kernel labels by itself, or not at all (mount(8), "context").
_UNLABELLED = frozenset({"proc", "sysfs", "mqueue", "cgroup", "cgroup2"})


class MountPlan(Record):
    """What the mounts of a container come to.

    `prepare` runs before the namespaces exist, `mounts` inside them in order, `finish` after everything that
    still has to write below the mount points (devices, links, the console).
    """

    prepare: tuple[Operation, ...] = ()
    mounts: tuple[Operation, ...] = ()
    finish: tuple[Operation, ...] = ()

    @property
    def without_cgroups(self) -> int:
        """How many of the first mounts have to do neither with cgroups nor with memory to speak of."""
        for index, operation in enumerate(self.mounts):
            if (
                not isinstance(operation, Mount)
                or operation.type not in _SMALL
                or operation.how & MOUNT_COPY_UP
            ):
                return index
        return len(self.mounts)


def plan_mounts(view: ContainerView) -> MountPlan:
    """Plan every entry of `mounts`.

    Raises:
        SpecError: an option, source or mapping of an entry makes no sense.
    """
    builder = _Builder(view)
    for index, entry in enumerate(view.config.mounts):
        builder.add(entry, f"/mounts/{index}")
    return MountPlan(
        prepare=tuple(builder.prepare), mounts=tuple(builder.operations), finish=tuple(builder.finish)
    )


class _Builder:
    """Collects the three lists while the entries are read in order."""

    def __init__(self, view: ContainerView) -> None:
        self.view = view
        self.prepare: list[Operation] = []
        self.operations: list[Operation] = []
        self.finish: list[Operation] = []
        self._slot = FIRST_MOUNT_SLOT

    def add(self, entry: MountEntry, origin: str) -> None:
        options = read_options(entry.options, origin)
        path = clean_path(entry.destination)
        if options.is_remount:
            self._add_remount(options, path, origin)
        elif options.is_bind:
            self._add_bind(entry, options, path, origin)
        elif entry.type in ("cgroup", "cgroup2"):
            self.operations += plan_cgroup_mount(self.view, entry, options, path, origin)
        else:
            self._add_filesystem(entry, options, path, origin)

        slot = -1 if options.is_remount or entry.type in ("cgroup", "cgroup2") else MOUNT_SLOT
        for flags in options.propagation:
            self.operations.append(SetPropagation(origin=origin, path=path, flags=flags, slot=slot))
        if options.attr_set or options.attr_clear:
            self.operations.append(
                SetMountAttributes(
                    origin=origin,
                    path=path,
                    attr_set=options.attr_set,
                    attr_clear=options.attr_clear,
                    recursive=1,
                    slot=slot,
                )
            )

    def _add_remount(self, options: MountOptions, path: str, origin: str) -> None:
        flags = options.flags & ~(MS_REMOUNT | MS_BIND | MS_REC)
        if options.is_bind:
            self.operations.append(
                RemountFlags(origin=origin, path=path, flags=flags, cleared=options.cleared)
            )
        else:
            self.operations.append(
                RemountFilesystem(origin=origin, path=path, flags=flags, data=options.data)
            )

    def _add_bind(self, entry: MountEntry, options: MountOptions, path: str, origin: str) -> None:
        # Options of a filesystem mean nothing here: the kernel ignores them, and configs of old have them.
        source = self._bind_source(entry, origin)
        recursive = 1 if options.flags & MS_REC else 0
        mapping = plan_idmap(self.view, entry, options, origin)
        if mapping is None:
            how = BIND_SOURCE_NOFOLLOW if options.source_nofollow else 0
            how |= BIND_TARGET_NOFOLLOW if options.target_nofollow else 0
            how |= BIND_COPY_SYMLINK if options.copy_symlink else 0
            how |= BIND_REAL_DIRECTORY if path in ("/proc", "/sys") else 0
            self.operations.append(
                Bind(origin=origin, host_path=source, path=path, recursive=recursive, how=how)
            )
        else:
            tree, namespace = self._next_slot(origin), self._next_slot(origin)
            self.prepare += [
                OpenNamespace(origin=origin, slot=namespace, host_path=mapping.namespace)
                if mapping.namespace
                else MakeMappingNamespace(
                    origin=origin, slot=namespace, uid_map=mapping.uid_map, gid_map=mapping.gid_map
                ),
                OpenTree(origin=origin, slot=tree, host_path=source, recursive=recursive, slave=1),
                IdmapTree(
                    origin=origin,
                    tree_slot=tree,
                    namespace_slot=namespace,
                    recursive=1 if options.idmap_recursive else 0,
                ),
            ]
            self.operations.append(BindTree(origin=origin, slot=tree, path=path))
        flags = options.flags & ~(MS_BIND | MS_REC)
        # mount(2) ignores every other flag while it binds, hence a second step.
        if flags or options.cleared:
            self.operations.append(
                RemountFlags(origin=origin, path=path, flags=flags, cleared=options.cleared, slot=MOUNT_SLOT)
            )

    def _bind_source(self, entry: MountEntry, origin: str) -> str:
        if not entry.source:
            hint = 'add "source": the path on the host that is to be shown there'
            raise SpecError(f"bind mount on {entry.destination} has no source", where=origin, hint=hint)
        if entry.source.startswith("/"):
            return entry.source
        return clean_path(f"{self.view.bundle}/{entry.source}")

    def _next_slot(self, origin: str) -> int:
        if self._slot > LAST_SLOT:
            raise SpecError(
                "too many idmapped mounts", where=origin, hint="at most 28 of them fit into one container"
            )
        self._slot += 1
        return self._slot - 1

    def _add_filesystem(self, entry: MountEntry, options: MountOptions, path: str, origin: str) -> None:
        how, fallback, flags = 0, "", options.flags
        if entry.type in ("proc", "sysfs"):
            how |= MOUNT_REAL_DIRECTORY
        if entry.type == "sysfs" and self.view.shares_host_network and self.view.has_user_namespace:
            fallback = "/sys"
        if entry.type == "tmpfs":
            how |= MOUNT_COPY_UP if options.copy_up else 0
            how |= 0 if "mode=" in options.data else MOUNT_KEEP_MODE
        # Devices, links and mount points are still to be made below a tmpfs: it turns read-only at the end.
        if flags & MS_RDONLY and (entry.type == "tmpfs" or path == "/dev"):
            flags &= ~MS_RDONLY
            self.finish.append(RemountFlags(origin=origin, path=path, flags=options.flags))
        self.operations.append(
            Mount(
                origin=origin,
                type=entry.type,
                source=entry.source or entry.type,
                path=path,
                flags=flags,
                data=self._labelled(entry.type, options.data),
                how=how,
                fallback_host_path=fallback,
            )
        )

    def _labelled(self, kind: str, data: str) -> str:
        """The data of a new filesystem with `linux.mountLabel`; without SELinux a label means nothing."""
        linux = self.view.config.linux
        label = linux.mount_label if linux is not None else ""
        if not label or not self.view.facts.selinux or kind in _UNLABELLED:
            return data
        context = f'{self.view.config.annotations.get(MOUNT_CONTEXT, "context")}="{label}"'
        return f"{data},{context}" if data else context
