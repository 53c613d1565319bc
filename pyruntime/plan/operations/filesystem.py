"""Operations inside the new namespaces, before the root is changed: mounts, devices, the root itself."""

from pyruntime.plan.operations.operation import Operation, mount_flag_names, propagation_name


class NewSession(Operation):
    code = 20

    def describe(self) -> str:
        return "start a new session"


class JoinKeyring(Operation):
    """Join a new session keyring `name` and add `permissions` to it; ENOSYS and EPERM-by-policy are tolerated."""

    code = 21
    name: str
    permissions: int

    def describe(self) -> str:
        return f"join the session keyring {self.name}"


class RaiseLoopback(Operation):
    code = 22

    def describe(self) -> str:
        return "bring up the loopback device"


class SetHostPropagation(Operation):
    """Change the propagation of the mount at `host_path` (MS_SLAVE, MS_REC ...)."""

    code = 23
    host_path: str
    flags: int

    def describe(self) -> str:
        return f"make {self.host_path} {propagation_name(self.flags)}"


class MakeParentPrivate(Operation):
    """Make the mount that holds `host_path` private: pivot_root refuses a shared parent."""

    code = 24
    host_path: str

    def describe(self) -> str:
        return f"make the mount above {self.host_path} private"


class BindRoot(Operation):
    """Bind `host_path` onto itself recursively and open it: the container's root from here on."""

    code = 25
    host_path: str

    def describe(self) -> str:
        return f"bind the root filesystem {self.host_path}"


# Mount, Bind and BindTree leave a descriptor of what they have mounted in this slot, for the operations that change it:
# an image can make the same path lead to another mount as soon as the first one is there.
MOUNT_SLOT = 1


class Mount(Operation):
    """Mount a new filesystem on `path`, which is made if missing.

    `how` is a sum of MOUNT_ constants below.  `fallback_host_path`, unless empty, is bound recursively
    instead when the kernel refuses with EPERM or EBUSY.
    """

    code = 26
    type: str
    source: str
    path: str
    flags: int
    data: str
    how: int = 0
    fallback_host_path: str = ""

    def describe(self) -> str:
        options = f" with {self.data}" if self.data else ""
        filled = ", with what was there" if self.how & MOUNT_COPY_UP else ""
        return f"mount {self.type} on {self.path}{options}{mount_flag_names(self.flags)}{filled}"


MOUNT_REAL_DIRECTORY = 1  # the destination must not be or pass a symbolic link (proc, sysfs)
MOUNT_COPY_UP = 2  # tmpcopyup: fill the tmpfs with what the mount point held
MOUNT_KEEP_MODE = 4  # a tmpfs takes mode and owner of the directory that it covers


class Bind(Operation):
    """Bind `host_path` on `path`; `path` is made as a directory or an empty file, as the source is.

    `how` is a sum of BIND_ constants.
    """

    code = 27
    host_path: str
    path: str
    recursive: int
    how: int = 0

    def describe(self) -> str:
        words = ", recursive" if self.recursive else ""
        words += ", not following a link there" if self.how & BIND_TARGET_NOFOLLOW else ""
        words += ", or make the same link" if self.how & BIND_COPY_SYMLINK else ""
        return f"bind {self.host_path} on {self.path}{words}"


BIND_SOURCE_NOFOLLOW = 1  # a link is bound itself, not what it leads to
BIND_REAL_DIRECTORY = 2  # as MOUNT_REAL_DIRECTORY (a bind on /proc or /sys)
BIND_TARGET_NOFOLLOW = 4  # a link at the destination is covered itself
BIND_COPY_SYMLINK = 8  # a source that is a link becomes the same link in the container, without a mount


class BindTree(Operation):
    """Attach the detached mount in `slot` to `path`, made as the source is."""

    code = 28
    slot: int
    path: str

    def describe(self) -> str:
        return f"attach the prepared mount on {self.path}"


class RemountFlags(Operation):
    """Remount `path` in place (MS_REMOUNT|MS_BIND) with MS_ `flags`.

    On EPERM the flags that the mount has and the kernel has locked are kept, unless one of them is in
    `cleared`, which the configuration asks for explicitly.
    """

    code = 29
    path: str
    flags: int
    cleared: int = 0
    slot: int = -1

    def describe(self) -> str:
        return f"remount {self.path}{mount_flag_names(self.flags) or ' with default flags'}"


class RemountFilesystem(Operation):
    """Remount the filesystem at `path` itself (MS_REMOUNT without MS_BIND), e.g. a tmpfs read-only at the end."""

    code = 30
    path: str
    flags: int
    data: str = ""

    def describe(self) -> str:
        return f"remount the filesystem at {self.path}{mount_flag_names(self.flags)}"


class SetMountAttributes(Operation):
    """mount_setattr on `path` with MOUNT_ATTR_ bits `attr_set` and `attr_clear`."""

    code = 31
    path: str
    attr_set: int
    attr_clear: int
    recursive: int
    slot: int = -1

    def describe(self) -> str:
        return f"set mount attributes {self.attr_set:#x}, clear {self.attr_clear:#x} on {self.path}" + (
            " recursively" if self.recursive else ""
        )


class SetPropagation(Operation):
    """Change the propagation of the mount at `path` in the container."""

    code = 32
    path: str
    flags: int
    slot: int = -1

    def describe(self) -> str:
        return f"make {self.path} {propagation_name(self.flags)}"


class MakeDevice(Operation):
    """mknod `path` (mode includes the type bits), or accept it if it is there already and is the same device.

    Without the right to mknod, `fallback_host_path` is bound instead, unless empty.
    """

    code = 33
    path: str
    mode: int
    major: int
    minor: int
    uid: int
    gid: int
    fallback_host_path: str = ""

    def describe(self) -> str:
        kind = {0o020000: "character device", 0o060000: "block device", 0o010000: "fifo"}[
            self.mode & 0o170000
        ]
        number = "" if kind == "fifo" else f" {self.major}:{self.minor}"
        return f"make the {kind} {self.path}{number}"


class BindDevice(Operation):
    """Bind the host's device node `host_path` on `path`, an empty file made for it."""

    code = 34
    host_path: str
    path: str
    mode: int
    major: int
    minor: int

    def describe(self) -> str:
        return f"bind the device {self.host_path} on {self.path}"


class MakeSymlink(Operation):
    """Make the symbolic link `path`; one that exists is kept, or replaced when `force`."""

    code = 35
    target: str
    path: str
    force: int = 0

    def describe(self) -> str:
        return f"link {self.path} to {self.target}"


class MakeDirectory(Operation):
    """mkdir -p `path` in the container with `mode`."""

    code = 36
    path: str
    mode: int = 0o755

    def describe(self) -> str:
        return f"make sure that the directory {self.path} exists"


class RunHook(Operation):
    """Run a hook inside the container's namespaces and wait for it, at most `timeout` seconds (0: no limit).

    It gets `state_head` + its parent's pid in this pid namespace + `state_tail` on stdin; what it prints
    is captured and quoted when it fails.  Empty `environment` with `inherit` means the executor's own.
    `name` is as in config.json and `index` its place there.  What it prints also goes to the descriptors, if given.
    """

    code = 37
    name: str
    index: int
    host_path: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    state_head: str
    state_tail: str
    timeout: int = 0
    out_fd: int = -1
    err_fd: int = -1

    def describe(self) -> str:
        return f"run the {self.name} hook #{self.index} {self.host_path}"


class PivotRoot(Operation):
    """pivot_root into the container's root and detach the old one."""

    code = 38

    def describe(self) -> str:
        return "pivot into the root filesystem"


class MoveRoot(Operation):
    """Move the container's root over / and chroot: for an initramfs, where pivot_root cannot work."""

    code = 39

    def describe(self) -> str:
        return "move the root filesystem over / and chroot"


class ChangeRoot(Operation):
    """Only chroot: the container has no mount namespace of its own."""

    code = 40

    def describe(self) -> str:
        return "chroot into the root filesystem"


class AddFilesystem(Operation):
    """Mount a new filesystem on `path`, which is made if it is missing, by descriptors alone (fsopen(2)).

    For containers that run already: `Mount` needs a procfs that can be trusted.
    """

    code = 74
    type: str
    source: str
    path: str
    flags: int
    data: str

    def describe(self) -> str:
        return f"mount {self.type} on {self.path}{mount_flag_names(self.flags)}"
