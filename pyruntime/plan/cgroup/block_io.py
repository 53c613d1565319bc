"""`linux.resources.blockIO`.  Source: config-linux.md, "Block IO"; kernel, cgroup-v2.rst, blkio-controller.rst."""

from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile
from pyruntime.spec.linux import BlockIo, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyruntime.plan.cgroup import CgroupTarget

_ORIGIN = "/linux/resources/blockIO"


def plan_block_io(resources: Resources, target: "CgroupTarget") -> "Iterator[CgroupOperation]":
    """Units: bytes or operations a second; weights from 10 to 1000."""
    block_io = resources.block_io
    if block_io is None or block_io == BlockIo():
        return
    directory = target.directory("io" if target.unified else "blkio", _ORIGIN)
    yield from _plan_weights(block_io, directory, target.unified)
    throttles = (
        ("throttleReadBpsDevice", block_io.throttle_read_bps_device, "read_bps", "rbps"),
        ("throttleWriteBpsDevice", block_io.throttle_write_bps_device, "write_bps", "wbps"),
        ("throttleReadIOPSDevice", block_io.throttle_read_iops_device, "read_iops", "riops"),
        ("throttleWriteIOPSDevice", block_io.throttle_write_iops_device, "write_iops", "wiops"),
    )
    for name, devices, old, new in throttles:
        for index, device in enumerate(devices):
            number, rate = f"{device.major}:{device.minor}", device.rate or 0
            yield WriteCgroupFile(
                origin=f"{_ORIGIN}/{name}/{index}",
                path=f"{directory}/io.max" if target.unified else f"{directory}/blkio.throttle.{old}_device",
                value=f"{number} {new}={rate or 'max'}" if target.unified else f"{number} {rate}",
            )


def _plan_weights(block_io: BlockIo, directory: str, unified: bool) -> "Iterator[CgroupOperation]":
    if block_io.weight:
        if unified:
            weight = str(1 + (block_io.weight - 10) * 9999 // 990)
            yield WriteCgroupFile(
                origin=f"{_ORIGIN}/weight",
                path=f"{directory}/io.bfq.weight",
                value=str(block_io.weight),
                instead=(f"{directory}/io.weight", weight),
            )
        else:
            yield WriteCgroupFile(
                origin=f"{_ORIGIN}/weight",
                path=f"{directory}/blkio.weight",
                value=str(block_io.weight),
                instead=(f"{directory}/blkio.bfq.weight", str(block_io.weight)),
            )
    if block_io.leaf_weight and not unified:
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/leafWeight",
            path=f"{directory}/blkio.leaf_weight",
            value=str(block_io.leaf_weight),
        )
    for index, device in enumerate(block_io.weight_device):
        if device.weight is None:
            continue
        value = f"{device.major}:{device.minor} {device.weight}"
        path = f"{directory}/io.bfq.weight" if unified else f"{directory}/blkio.weight_device"
        instead = () if unified else (f"{directory}/blkio.bfq.weight_device", value)
        yield WriteCgroupFile(
            origin=f"{_ORIGIN}/weightDevice/{index}", path=path, value=value, instead=instead
        )
