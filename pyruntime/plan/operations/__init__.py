"""The vocabulary of a plan: every operation that the executor knows, one record each.

An operation is data.  It says what is to be done in terms that need no further decision, where it came
from (`origin`, a JSON pointer into config.json, or "" for what every container gets), and describes
itself in one line for `explain`, `--debug` and errors.  `code` numbers it in the encoded plan and
the fields after `origin`, in the order declared, are its arguments there:

    str                 a string without NUL
    tuple[str, ...]     a list of strings
    bytes               a block of bytes
    int                 a 64-bit number

`pyruntime/execute/executor/operations.h` holds the same table in C; a test compares the two.
A `slot` is a place (0 to 63) in which one operation leaves a descriptor for a later one.  Fields whose
names end in `_fd` are numbers of descriptors that the parent passes on.  Paths named `path` below are
looked up inside the container's root, host paths are named `host_path`.
"""

from pyruntime.base.record import fields_of
from pyruntime.plan.operations.entry import (
    AttachDeviceProgram,
    Await,
    BecomeRoot,
    BindHost,
    Clone,
    CloseInherited,
    CloseOwn,
    EnterRoot,
    IdmapTree,
    JoinCgroup,
    JoinNamespace,
    JoinProcess,
    KeepDescriptor,
    MakeMappingNamespace,
    OpenPath,
    OpenTree,
    SetDumpable,
    SetOomScore,
    Tell,
    Unmount,
    Unshare,
    WriteFile,
)
from pyruntime.plan.operations.filesystem import (
    BIND_REAL_DIRECTORY,
    BIND_SOURCE_NOFOLLOW,
    MOUNT_COPY_UP,
    MOUNT_KEEP_MODE,
    MOUNT_REAL_DIRECTORY,
    MOUNT_SLOT,
    Bind,
    BindDevice,
    BindRoot,
    BindTree,
    ChangeRoot,
    JoinKeyring,
    MakeDevice,
    MakeDirectory,
    MakeParentPrivate,
    MakeSymlink,
    Mount,
    MoveRoot,
    NewSession,
    PivotRoot,
    RaiseLoopback,
    RemountFilesystem,
    RemountFlags,
    RunHook,
    SetHostPropagation,
    SetMountAttributes,
    SetPropagation,
)
from pyruntime.plan.operations.operation import (
    CGROUPS_READY,
    HOOKS_DONE,
    HOOKS_WANTED,
    MAPS_WANTED,
    MAPS_WRITTEN,
    NAMESPACE_NAMES,
    PROCEED,
    READY,
    RENDEZVOUS_NAMES,
    Operation,
    mount_flag_names,
    namespace_name,
    namespace_names,
    propagation_name,
)
from pyruntime.plan.operations.process import (
    AwaitStart,
    BecomeUser,
    ChangeDirectory,
    Execute,
    FindExecutable,
    FindHome,
    KeepBounding,
    LoadSeccomp,
    NoNewPrivileges,
    OwnStandardStreams,
    ResetAffinity,
    SetAffinity,
    SetCapabilities,
    SetIoPriority,
    SetMemoryPolicy,
    SetPersonality,
    SetScheduler,
    SetUmask,
)
from pyruntime.plan.operations.system import (
    MaskPath,
    OpenConsole,
    ReadonlyPath,
    RemountRootReadonly,
    ReopenNullStdio,
    SetDomainname,
    SetHostname,
    SetRootPropagation,
    SetSecurityAttribute,
    SetSysctl,
)

__all__ = [
    "BIND_REAL_DIRECTORY",
    "BIND_SOURCE_NOFOLLOW",
    "CGROUPS_READY",
    "HOOKS_DONE",
    "HOOKS_WANTED",
    "MAPS_WANTED",
    "MAPS_WRITTEN",
    "MOUNT_COPY_UP",
    "MOUNT_KEEP_MODE",
    "MOUNT_REAL_DIRECTORY",
    "MOUNT_SLOT",
    "NAMESPACE_NAMES",
    "PROCEED",
    "READY",
    "RENDEZVOUS_NAMES",
    "AttachDeviceProgram",
    "Await",
    "AwaitStart",
    "BecomeRoot",
    "BecomeUser",
    "Bind",
    "BindDevice",
    "BindHost",
    "BindRoot",
    "BindTree",
    "ChangeDirectory",
    "ChangeRoot",
    "Clone",
    "CloseInherited",
    "CloseOwn",
    "EnterRoot",
    "Execute",
    "FindExecutable",
    "FindHome",
    "IdmapTree",
    "JoinCgroup",
    "JoinKeyring",
    "JoinNamespace",
    "JoinProcess",
    "KeepBounding",
    "KeepDescriptor",
    "LoadSeccomp",
    "MakeDevice",
    "MakeDirectory",
    "MakeMappingNamespace",
    "MakeParentPrivate",
    "MakeSymlink",
    "MaskPath",
    "Mount",
    "MoveRoot",
    "NewSession",
    "NoNewPrivileges",
    "OpenConsole",
    "OpenPath",
    "OpenTree",
    "Operation",
    "OwnStandardStreams",
    "PivotRoot",
    "RaiseLoopback",
    "ReadonlyPath",
    "RemountFilesystem",
    "RemountFlags",
    "RemountRootReadonly",
    "ReopenNullStdio",
    "ResetAffinity",
    "RunHook",
    "SetAffinity",
    "SetCapabilities",
    "SetDomainname",
    "SetDumpable",
    "SetHostPropagation",
    "SetHostname",
    "SetIoPriority",
    "SetMemoryPolicy",
    "SetMountAttributes",
    "SetOomScore",
    "SetPersonality",
    "SetPropagation",
    "SetRootPropagation",
    "SetScheduler",
    "SetSecurityAttribute",
    "SetSysctl",
    "SetUmask",
    "Tell",
    "Unmount",
    "Unshare",
    "WriteFile",
    "all_operations",
    "mount_flag_names",
    "namespace_name",
    "namespace_names",
    "propagation_name",
    "signature",
]


def all_operations() -> dict[int, type[Operation]]:
    """Every operation by its code."""
    return {operation.code: operation for operation in Operation.__subclasses__()}


_LETTERS: dict[object, str] = {str: "s", int: "i", bytes: "b", tuple[str, ...]: "l"}


def signature(operation: type[Operation]) -> str:
    """The kinds of an operation's arguments, a letter each: s string, l list, b bytes, i number."""
    return "".join(_LETTERS[kind] for name, kind in fields_of(operation).items() if name != "origin")
