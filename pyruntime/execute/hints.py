"""What to do about a failed step: a hint for the errors that people really meet.

A hint must not contain the words that engines look for in the message ("permission denied" and the like).
"""

import errno

from pyruntime.plan.operations import (
    Bind,
    BindRoot,
    Clone,
    Execute,
    FindExecutable,
    JoinCgroup,
    JoinNamespace,
    MakeDevice,
    Mount,
    OpenConsole,
    Operation,
    PivotRoot,
    SetHostname,
    SetSysctl,
    Unshare,
)

_NEW_USER = 0x10000000
_HINTS: dict[tuple[type[Operation], int], str] = {
    (Bind, errno.ENOENT): "make the source on the host first, or correct the path",
    (
        Bind,
        errno.ENOTDIR,
    ): "source and destination must be of one kind: a file on a file, a directory on a directory",
    (BindRoot, errno.ENOENT): "root.path must name the directory that holds the root filesystem",
    (
        Mount,
        errno.ENODEV,
    ): 'this kernel has no such filesystem; for a bind mount add "bind" or "rbind" to the options',
    (Mount, errno.EINVAL): "the filesystem refuses one of the options: compare them with its manual page",
    (Mount, errno.EPERM): "the user namespace may not mount this: bind it from the host instead",
    (Mount, errno.EBUSY): "something is mounted there already",
    (Clone, errno.EPERM): "this needs privilege over the host, or a user namespace with id mappings",
    (Clone, errno.ENOSPC): "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces",
    (Clone, errno.EAGAIN): "the limit on processes is reached: see pids.max of the cgroup and RLIMIT_NPROC",
    (
        Unshare,
        errno.EPERM,
    ): "this host does not let unprivileged users make user namespaces (sysctl user.*, AppArmor)",
    (Unshare, errno.ENOSPC): "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces",
    (JoinNamespace, errno.ENOENT): "the process that held the namespace has ended, or the path is wrong",
    (JoinNamespace, errno.EINVAL): "the file is a namespace of another kind than the entry's type",
    (JoinCgroup, errno.ENOSPC): "cpuset.cpus or cpuset.mems of the cgroup is empty",
    (MakeDevice, errno.EEXIST): "the image holds another file there: remove it, or leave the device out",
    (OpenConsole, errno.ENOENT): "a terminal needs a devpts mount on /dev/pts with the option newinstance",
    (PivotRoot, errno.EINVAL): "the host's root is an initramfs: use --no-pivot",
    (SetHostname, errno.EPERM): "the uts namespace belongs to another user namespace",
    (SetSysctl, errno.ENOENT): "this kernel has no such key, or it is not part of the container's namespaces",
    (FindExecutable, errno.ENOENT): "process.args[0] is looked up in the image, along PATH of process.env",
    (FindExecutable, errno.EACCES): "set the execute bit in the image, or choose a user who may run it",
    (Execute, errno.ENOEXEC): "the program is for another machine, or a script whose first line is not #!",
}


def hint_for(operation: Operation, number: int) -> str:
    """The way out of `errno` in this operation, or nothing if none is known."""
    kind = type(operation)
    if isinstance(operation, Unshare) and not operation.flags & _NEW_USER:
        kind = Clone
    return _HINTS.get((kind, number), "")
