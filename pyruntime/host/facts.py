"""Reads the facts about this machine that planning needs."""

import os

from pyruntime.base.files import read_file
from pyruntime.plan.facts import HostFacts
from pyruntime.spec.config import Config

_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # include/linux/proc_ns.h, PROC_USER_INIT_INO


def read_host_facts() -> HostFacts:
    """The facts about this machine and process; what cannot be read counts as absent."""
    apparmor = _first_line("/sys/module/apparmor/parameters/enabled") == "Y"
    return HostFacts(
        user_id=os.geteuid(),
        group_id=os.getegid(),
        in_user_namespace=in_user_namespace(),
        last_capability=int(_first_line("/proc/sys/kernel/cap_last_cap") or 40),
        apparmor=apparmor,
        apparmor_confined=apparmor and _is_confined(),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        has_kcore=os.path.exists("/proc/kcore"),
    )


def _is_confined() -> bool:
    """Whether an AppArmor profile confines this process: "unconfined", "NAME (enforce)", "NAME (unconfined)" ..."""
    # Kernels before 5.8 know only the shared file.
    label = _first_line("/proc/self/attr/apparmor/current") or _first_line("/proc/self/attr/current")
    return bool(label) and not label.endswith(("unconfined", "(unconfined)"))


def facts_for(config: Config) -> HostFacts:
    """The facts that planning a container of this config needs: the usual ones, and what only few configs ask for."""
    facts = read_host_facts()
    if config.linux is not None and config.linux.intel_rdt is not None:
        from pyruntime.host.mounts import mount_point_of

        return facts.replace(resctrl=mount_point_of("resctrl"))
    return facts


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the initial one, told by its inode."""
    try:
        return os.stat("/proc/self/ns/user").st_ino != _INITIAL_USER_NAMESPACE
    except OSError:
        return False


def bounding_capabilities() -> int:
    """The mask of what this process may pass on; all if that cannot be read."""
    try:
        return int(read_file("/proc/self/status").partition(b"CapBnd:")[2].split(None, 1)[0], 16)
    except (OSError, IndexError, ValueError):
        return (1 << 64) - 1


def _first_line(path: str) -> str:
    try:
        return read_file(path).decode().partition("\n")[0]
    except OSError:
        return ""
