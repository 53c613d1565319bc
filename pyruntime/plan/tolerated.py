"""What is accepted and has no effect here: callers rely on that with runc, but nobody should have to guess."""

from pyruntime.spec.annotations import IGNORED
from pyruntime.spec.config import Config
from pyruntime.spec.linux import Memory, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def tolerated(config: Config, *, unified: bool) -> "Iterator[str]":
    """A line for each entry that is ignored; `unified` says that limits go to cgroup v2."""
    for key in IGNORED:
        if key in config.annotations:
            yield f"ignoring the annotation {key}"
    resources = config.linux.resources if config.linux is not None else None
    if resources is not None:
        for pointer in _without_effect(resources, unified=unified):
            version = "cgroup v2" if unified else "this kernel"
            yield f"ignoring /linux/resources/{pointer}: {version} has no such limit"


def _without_effect(resources: Resources, *, unified: bool) -> "Iterator[str]":
    memory = resources.memory or Memory()
    if memory.kernel:
        yield "memory/kernel"
    if not unified:
        return
    if memory.kernel_tcp:
        yield "memory/kernelTCP"
    if memory.swappiness is not None:
        yield "memory/swappiness"
    if memory.disable_oom_killer:
        yield "memory/disableOOMKiller"
    if resources.block_io is not None:
        if resources.block_io.leaf_weight:
            yield "blockIO/leafWeight"
        for index, device in enumerate(resources.block_io.weight_device):
            if device.leaf_weight:
                yield f"blockIO/weightDevice/{index}/leafWeight"
