"""Who may use a cgroup of v2: its owner, and what a threaded tree allows.  Pure.

Source: config-linux.md, "Cgroup ownership"; kernel, cgroup-v2.rst, "Delegation" and "Threads".
"""

from pyruntime.base.decode import escape
from pyruntime.spec.config import Config
from pyruntime.spec.linux import Resources

_MOUNT_POINT = "/sys/fs/cgroup"
# Without these a cgroup may be threaded: cpu, cpuset, pids and perf_event can tell threads apart.
_DOMAIN_CONTROLLERS = frozenset({"memory", "io", "hugetlb", "rdma", "misc", "dmem"})


def cgroup_owner(config: Config) -> int:
    """The host's user id of the container's process, if the cgroup is to be that user's; else -1.

    It is if the container gets a cgroup namespace of its own and may write to the cgroup file system in it.
    """
    linux = config.linux
    if linux is None or not _has_new_namespace(config, "cgroup"):
        return -1
    if not any(
        entry.source == "cgroup"
        and entry.destination.rstrip("/") == _MOUNT_POINT
        and "ro" not in entry.options
        for entry in config.mounts
    ):
        return -1
    user = config.process.user.uid if config.process is not None else 0
    if any(namespace.type == "user" and namespace.path for namespace in linux.namespaces):
        return -1  # somebody else has made the maps
    if not _has_new_namespace(config, "user"):
        return user
    for entry in linux.uid_mappings:
        if entry.container_id <= user < entry.container_id + entry.size:
            return entry.host_id + user - entry.container_id
    return -1


def domain_limit(resources: Resources) -> str:
    """The config entry of a limit that a threaded cgroup cannot have, "" if there is none."""
    if resources.memory is not None:
        return "/linux/resources/memory"
    if resources.block_io is not None:
        return "/linux/resources/blockIO"
    if resources.hugepage_limits:
        return "/linux/resources/hugepageLimits"
    if resources.rdma:
        return "/linux/resources/rdma"
    for key in resources.unified:
        if key.partition(".")[0] in _DOMAIN_CONTROLLERS:
            return f"/linux/resources/unified/{escape(key)}"
    return ""


def _has_new_namespace(config: Config, kind: str) -> bool:
    namespaces = config.linux.namespaces if config.linux is not None else ()
    return any(namespace.type == kind and not namespace.path for namespace in namespaces)
