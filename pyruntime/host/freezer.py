"""Asks the freezer of a container.  Source: kernel documents cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst."""

from pyruntime.base.files import read_once

# What its file says of a frozen cgroup, of either version.
_FROZEN = (b"FROZEN\n", b"FREEZING\n", b"1\n")


def is_frozen(cgroup_paths: dict[str, str]) -> bool:
    """Whether the processes in these cgroups are frozen; the path of each controller, "" is cgroup v2."""
    version_1 = cgroup_paths.get("freezer")
    path = f"{version_1}/freezer.state" if version_1 else f"{cgroup_paths.get('', '')}/cgroup.freeze"
    try:
        return read_once(path, 64) in _FROZEN
    except OSError:
        return False
