"""What several planners ask about one container, answered once."""

from pyruntime.base.record import Record
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.facts import HostFacts
from pyruntime.spec.config import Config

NAMESPACE_FLAGS = {
    "user": 0x10000000,
    "pid": 0x20000000,
    "network": 0x40000000,
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "cgroup": 0x02000000,
    "time": 0x00000080,
}


class ContainerView(Record):
    """A container to be: its config and bundle, the host, and the namespaces that it gets.

    `created` is a sum of CLONE_NEW flags; `joined` maps such a flag to the path and its JSON pointer.
    `cgroup_paths` maps a controller ("" for v2) to the container's cgroup directory.
    """

    config: Config
    container_id: str
    bundle: str
    facts: HostFacts
    cgroup_layout: CgroupLayout
    cgroup_paths: dict[str, str] = {}
    created: int = 0
    joined: dict[int, tuple[str, str]] = {}

    def has_namespace(self, kind: str) -> bool:
        """Whether the container gets a namespace of this kind other than the runtime's, new or joined."""
        flag = NAMESPACE_FLAGS[kind]
        return bool(self.created & flag) or flag in self.joined

    def makes_namespace(self, kind: str) -> bool:
        """Whether the container gets a new namespace of this kind."""
        return bool(self.created & NAMESPACE_FLAGS[kind])

    @property
    def namespaces(self) -> int:
        """The flags of all namespaces other than the runtime's, new or joined."""
        return self.created | sum(self.joined)

    @property
    def has_user_namespace(self) -> bool:
        return self.has_namespace("user") or self.facts.in_user_namespace

    @property
    def shares_host_network(self) -> bool:
        return not self.makes_namespace("network")

    @property
    def rootfs(self) -> str:
        """The root filesystem as an absolute host path."""
        path = self.config.root.path if self.config.root is not None else "rootfs"
        return path if path.startswith("/") else f"{self.bundle}/{path}"


def read_namespaces(config: Config) -> tuple[int, dict[int, tuple[str, str]]]:
    """The namespaces to be made and those to be joined, as in `ContainerView`."""
    created, joined = 0, {}
    for index, namespace in enumerate(config.linux.namespaces if config.linux is not None else ()):
        flag = NAMESPACE_FLAGS[namespace.type]
        if namespace.path:
            joined[flag] = (namespace.path, f"/linux/namespaces/{index}")
        else:
            created |= flag
    return created, joined
