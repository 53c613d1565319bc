"""Owner, extended attributes, mode and times of what has just been made, in the order the kernel needs.

chown clears set-id bits and capabilities, so the owner comes first; without root, user attributes need
write permission, which the mode may take away; and whatever is changed changes times, which come last.
"""

from __future__ import annotations

import errno
import os

from oci_image.layers.ownership import IdMap
from oci_image.value import Value, fresh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.layers.tar_header import Entry

# Labels of the host's security modules and its overlays; an image has no say in them.
_DROPPED = (b"security.selinux", b"security.ima", b"security.evm", b"system.nfs4_acl", b"system.nfs4_dacl")
_DROPPED_PREFIXES = (b"trusted.overlay.", b"user.overlay.")
_ROOTLESS_OWNER = b"user.rootlesscontainers"


def is_dropped(name: bytes) -> bool:
    """Whether an extended attribute belongs to the host and is not taken from images."""
    return name in _DROPPED or name.startswith(_DROPPED_PREFIXES)


class Ownership(Value):
    """Who owns the files: `rootless` means the caller owns them all, whatever the layer says."""

    uid_map: IdMap = IdMap()
    gid_map: IdMap = IdMap()
    rootless: bool = False
    own_uid: int = fresh(default_factory=os.geteuid)
    own_gid: int = fresh(default_factory=os.getegid)


class MetadataWriter:
    """Applies the metadata of entries; collects in `notices` what could not be kept, once a kind."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self.rootless = ownership.rootless
        self.notices: dict[str, str] = {}
        self._uids: dict[int, int] = {}
        self._gids: dict[int, int] = {}

    def host_owner(self, entry: Entry) -> tuple[int, int]:
        """The owner on this host; ImageError if the maps do not have it."""
        uid = self._uids.get(entry.uid)
        gid = self._gids.get(entry.gid)
        if uid is None or gid is None:
            ownership = self._ownership
            if ownership.rootless:
                uid, gid = ownership.own_uid, ownership.own_gid
            else:
                uid = ownership.uid_map.to_host(entry.uid, "uid")
                gid = ownership.gid_map.to_host(entry.gid, "gid")
            self._uids[entry.uid] = uid
            self._gids[entry.gid] = gid
        return uid, gid

    def by_descriptor(self, fd: int, entry: Entry, *, created_mode: int) -> None:
        """A regular file or directory that was made with `created_mode` by this process."""
        owner = self.host_owner(entry)
        ownership = self._ownership
        if owner != (ownership.own_uid, ownership.own_gid) or created_mode < 0:
            os.fchown(fd, *owner)
        if entry.xattrs or self.rootless:
            self._set_xattrs(f"/proc/self/fd/{fd}", entry, regular=True)
        if entry.mode != created_mode:
            os.fchmod(fd, entry.mode)
        os.utime(fd, ns=_times(entry))

    def by_name(self, directory_fd: int, name: bytes, entry: Entry, *, is_link: bool) -> None:
        """A symbolic link, device or FIFO that this process has just made; nothing is followed."""
        owner = self.host_owner(entry)
        if owner != (self._ownership.own_uid, self._ownership.own_gid):
            os.chown(name, *owner, dir_fd=directory_fd, follow_symlinks=False)
        # Links have no mode; for the rest there is no fchmodat that does not follow, so the mode given at
        # creation stands unless chown may have taken set-id bits away.
        if not is_link and entry.mode & 0o7000:
            path_fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
            try:
                os.chmod(f"/proc/self/fd/{path_fd}", entry.mode)
            finally:
                os.close(path_fd)
        if entry.xattrs:
            self._set_xattrs(b"/proc/self/fd/%d/%s" % (directory_fd, name), entry, regular=False)
        os.utime(name, ns=_times(entry), dir_fd=directory_fd, follow_symlinks=False)

    def _set_xattrs(self, path: str | bytes, entry: Entry, *, regular: bool) -> None:
        xattrs = entry.xattrs
        if self.rootless and regular and (entry.uid or entry.gid):
            xattrs = {**xattrs, _ROOTLESS_OWNER: _encode_owner(entry.uid, entry.gid)}
        for name, value in xattrs.items():
            if is_dropped(name):
                self.notices.setdefault(
                    f"drop {name!r}", f"extended attribute {os.fsdecode(name)} is not unpacked"
                )
                continue
            try:
                # Through /proc: there is no setxattr relative to a directory descriptor.  For links the
                # path ends in a name that is not followed, for files it is the descriptor itself.
                os.setxattr(path, name, value, follow_symlinks=regular)
            except OSError as error:
                self._tolerate(error, name, regular=regular)

    def _tolerate(self, error: OSError, name: bytes, *, regular: bool) -> None:
        """Pass over attributes that cannot be here; anything else is an error."""
        # The kernel has user.* on regular files and directories only.
        if error.errno == errno.EPERM and name.startswith(b"user.") and not regular:
            return
        shown = os.fsdecode(name)
        if error.errno == errno.ENOTSUP:
            family = shown.partition(".")[0]
            self.notices.setdefault(
                f"unsupported {family}", f"the file system has no {family}.* attributes ({shown})"
            )
            return
        if error.errno == errno.EPERM and self.rootless:
            self.notices.setdefault(
                f"refused {shown}", f"extended attribute {shown} cannot be set without root"
            )
            return
        error.filename = f"extended attribute {shown}"
        raise error


def _times(entry: Entry) -> tuple[int, int]:
    modified = entry.modification_time
    return (modified if entry.access_time is None else entry.access_time, modified)


def _encode_owner(uid: int, gid: int) -> bytes:
    """The message {1: uid, 2: gid} in protocol buffers, as umoci and PRoot read it; zeros are left out."""
    message = b""
    for number, value in ((1, uid), (2, gid)):
        if value:
            message += bytes([number << 3]) + _varint(value)
    return message


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
