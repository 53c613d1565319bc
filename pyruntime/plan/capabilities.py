"""Capability names and sets.  Source: linux/capability.h; config.md, "process.capabilities"."""

from pyruntime.spec.config import Capabilities

_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)

CAPABILITY_NUMBERS: dict[str, int] = {f"CAP_{name}": number for number, name in enumerate(_NAMES.split())}


class CapabilityMasks:
    """The five sets of a process as bit masks, limited to what the kernel knows."""

    def __init__(self, capabilities: Capabilities | None, last_capability: int) -> None:
        known = (1 << (last_capability + 1)) - 1
        asked = capabilities or Capabilities()
        self.bounding = mask_of(asked.bounding) & known
        self.effective = mask_of(asked.effective) & known
        self.permitted = mask_of(asked.permitted) & known
        self.inheritable = mask_of(asked.inheritable) & known
        # The kernel raises an ambient capability only if it is permitted and inheritable too.
        self.ambient = mask_of(asked.ambient) & self.permitted & self.inheritable


def mask_of(names: tuple[str, ...]) -> int:
    """The bit mask of a list of names; unknown names count for nothing, as the spec demands (a warning)."""
    mask = 0
    for name in names:
        number = CAPABILITY_NUMBERS.get(name.upper())
        if number is not None:
            mask |= 1 << number
    return mask


def unavailable_capabilities(capabilities: Capabilities | None, bounding: int) -> list[str]:
    """The names in any of the five sets that no process can get here: unknown, or not in the mask `bounding`."""
    if capabilities is None:
        return []
    asked = capabilities
    names = {*asked.bounding, *asked.effective, *asked.permitted, *asked.inheritable, *asked.ambient}
    numbers = CAPABILITY_NUMBERS
    return sorted(name for name in names if not bounding >> numbers.get(name.upper(), 64) & 1)
