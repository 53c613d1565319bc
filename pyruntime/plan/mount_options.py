"""Mount options: the table of config.md, "Linux mount options", and its reading.

Numbers are those of linux/mount.h.  An option is one of four things: it sets or clears a flag of mount(2),
changes propagation, sets attributes recursively (mount_setattr), or is data for the filesystem.
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000

# option -> (flag, True to set it, False to clear it)
FLAGS: dict[str, tuple[int, bool]] = {
    "defaults": (0, True),
    "ro": (MS_RDONLY, True),
    "rw": (MS_RDONLY, False),
    "nosuid": (MS_NOSUID, True),
    "suid": (MS_NOSUID, False),
    "nodev": (MS_NODEV, True),
    "dev": (MS_NODEV, False),
    "noexec": (MS_NOEXEC, True),
    "exec": (MS_NOEXEC, False),
    "sync": (0x10, True),
    "async": (0x10, False),
    "remount": (MS_REMOUNT, True),
    "mand": (0x40, True),
    "nomand": (0x40, False),
    "dirsync": (0x80, True),
    "nosymfollow": (MS_NOSYMFOLLOW, True),
    "symfollow": (MS_NOSYMFOLLOW, False),
    "noatime": (MS_NOATIME, True),
    "atime": (MS_NOATIME, False),
    "nodiratime": (MS_NODIRATIME, True),
    "diratime": (MS_NODIRATIME, False),
    "bind": (MS_BIND, True),
    "rbind": (MS_BIND | MS_REC, True),
    "silent": (0x8000, True),
    "loud": (0x8000, False),
    "relatime": (MS_RELATIME, True),
    "norelatime": (MS_RELATIME, False),
    "iversion": (0x800000, True),
    "noiversion": (0x800000, False),
    "strictatime": (MS_STRICTATIME, True),
    "nostrictatime": (MS_STRICTATIME, False),
    "lazytime": (0x2000000, True),
    "nolazytime": (0x2000000, False),
}

PROPAGATION: dict[str, int] = {
    "private": MS_PRIVATE,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_ATIME = 0x70

# option -> (attributes to set, attributes to clear).  Whenever an access time mode is set, the whole
# mask has to be cleared, or mount_setattr answers EINVAL.
RECURSIVE_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "rro": (0x1, 0),
    "rrw": (0, 0x1),
    "rnosuid": (0x2, 0),
    "rsuid": (0, 0x2),
    "rnodev": (0x4, 0),
    "rdev": (0, 0x4),
    "rnoexec": (0x8, 0),
    "rexec": (0, 0x8),
    "rnodiratime": (0x80, 0),
    "rdiratime": (0, 0x80),
    "rnosymfollow": (0x200000, 0),
    "rsymfollow": (0, 0x200000),
    "rrelatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR_ATIME),
    "rnorelatime": (0, 0),
    "rnoatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME),
    "ratime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR_ATIME),
    "rstrictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME),
    "rnostrictatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR_ATIME),
}

OTHER_OPTIONS = ("idmap", "ridmap", "tmpcopyup", "src-nofollow", "dest-nofollow", "copy-symlink")

KNOWN_OPTIONS: list[str] = sorted([*FLAGS, *PROPAGATION, *RECURSIVE_ATTRIBUTES, *OTHER_OPTIONS])


class MountOptions(Record):
    """The options of one mount, read: numbers as for mount(2) and mount_setattr(2)."""

    flags: int = 0
    cleared: int = 0
    propagation: tuple[int, ...] = ()
    attr_set: int = 0
    attr_clear: int = 0
    data: str = ""
    idmap: bool = False
    idmap_recursive: bool = False
    idmap_ranges: str = ""
    copy_up: bool = False
    source_nofollow: bool = False
    target_nofollow: bool = False
    copy_symlink: bool = False

    @property
    def is_bind(self) -> bool:
        return bool(self.flags & MS_BIND)

    @property
    def is_remount(self) -> bool:
        return bool(self.flags & MS_REMOUNT)


def read_options(options: tuple[str, ...], origin: str) -> MountOptions:
    """Read a mount's `options` in order: of two that contradict each other the later one counts.

    Raises:
        SpecError: an option holds a NUL character.

    Source: config.md, "Linux mount options".
    """
    flags = cleared = attr_set = attr_clear = 0
    propagation: list[int] = []
    data: list[str] = []
    idmap: list[str] = []
    for index, option in enumerate(options):
        if option in FLAGS:
            flag, sets = FLAGS[option]
            flags, cleared = (flags | flag, cleared & ~flag) if sets else (flags & ~flag, cleared | flag)
        elif option in PROPAGATION:
            propagation.append(PROPAGATION[option])
        elif option in RECURSIVE_ATTRIBUTES:
            sets_bits, clears_bits = RECURSIVE_ATTRIBUTES[option]
            attr_set = attr_set & ~clears_bits | sets_bits
            attr_clear = attr_clear & ~sets_bits | clears_bits
        elif option.partition("=")[0] in ("idmap", "ridmap"):
            idmap.append(option)
        elif option not in OTHER_OPTIONS:
            if "\0" in option:
                hint = "remove the \\u0000: the kernel ends the option there"
                raise SpecError(
                    "mount option contains a NUL character", where=f"{origin}/options/{index}", hint=hint
                )
            data.append(option)
    return MountOptions(
        flags=flags,
        cleared=cleared,
        propagation=tuple(propagation),
        attr_set=attr_set,
        attr_clear=attr_clear,
        data=",".join(data),
        idmap=bool(idmap),
        idmap_recursive=bool(idmap) and idmap[-1].startswith("r"),
        idmap_ranges=idmap[-1].partition("=")[2] if idmap else "",
        copy_up="tmpcopyup" in options,
        source_nofollow="src-nofollow" in options,
        target_nofollow="dest-nofollow" in options,
        copy_symlink="copy-symlink" in options,
    )
