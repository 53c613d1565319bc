"""The base of all operations, and the words that they describe themselves with."""

from pyruntime.base.record import Record


class Operation(Record):
    """One step of a plan, carried out by the executor."""

    code = 0
    origin: str = ""

    def describe(self) -> str:
        """What the step does, in one line and in the words of config.json."""
        raise AssertionError(f"{type(self).__name__} does not describe itself")


# Rendezvous between the executor and its parent; each name is told by one side and awaited by the other.
CGROUPS_READY = 1  # parent: the cgroups exist
MAPS_WANTED = 2  # executor: the user namespace exists
MAPS_WRITTEN = 3  # parent
HOOKS_WANTED = 4  # executor: mounts are done, the root is not changed yet; limits must be set too
HOOKS_DONE = 5  # parent
READY = 6  # executor: everything but the final steps is done
PROCEED = 7  # parent: rlimits are set, the state is saved
CLONE_CGROUP_READY = 8  # parent: the cgroup to be cloned into exists
CGROUPS_JOINED = 9  # executor: the container's init is in all of its cgroups

RENDEZVOUS_NAMES = {
    CGROUPS_READY: "the cgroups exist",
    MAPS_WANTED: "the user namespace exists",
    MAPS_WRITTEN: "the id maps are written",
    HOOKS_WANTED: "the mounts are made",
    HOOKS_DONE: "the hooks have run and the limits are set",
    READY: "the container is set up",
    PROCEED: "the state is saved",
    CLONE_CGROUP_READY: "the cgroup of v2 exists",
    CGROUPS_JOINED: "the process is in its cgroups",
}

NAMESPACE_NAMES = {
    0x10000000: "user",
    0x20000000: "pid",
    0x40000000: "network",
    0x00020000: "mount",
    0x04000000: "uts",
    0x08000000: "ipc",
    0x02000000: "cgroup",
    0x00000080: "time",
}


def namespace_name(flag: int) -> str:
    """The spec's name of a CLONE_NEW flag."""
    return NAMESPACE_NAMES.get(flag, hex(flag))


def namespace_names(flags: int) -> str:
    """The spec's names of all CLONE_NEW flags in `flags`, comma-separated."""
    return ", ".join(name for flag, name in NAMESPACE_NAMES.items() if flags & flag)


def propagation_name(flags: int) -> str:
    """The spec's word for MS_SHARED and its siblings, with an r in front when recursive."""
    words = {1 << 20: "shared", 1 << 19: "slave", 1 << 18: "private", 1 << 17: "unbindable"}
    word = next((name for bit, name in words.items() if flags & bit), hex(flags))
    return f"r{word}" if flags & 0x4000 else word


_MOUNT_FLAG_NAMES = {
    0x1: "read-only",
    0x2: "nosuid",
    0x4: "nodev",
    0x8: "noexec",
    0x10: "sync",
    0x80: "dirsync",
    0x100: "nosymfollow",
    0x400: "noatime",
    0x800: "nodiratime",
    0x200000: "relatime",
    0x1000000: "strictatime",
    0x2000000: "lazytime",
}


def mount_flag_names(flags: int) -> str:
    """The MS_ flags in words, with a leading comma, or nothing."""
    return "".join(f", {name}" for bit, name in _MOUNT_FLAG_NAMES.items() if flags & bit)
