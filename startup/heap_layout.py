"""Which objects of the saved heap are placed side by side; see saved_heap/placement.c."""

from array import array
from dataclasses import dataclass

GRAIN = 16
HEADER = 8
PAGE = 4096


@dataclass(frozen=True)
class Layout:
    """Which allocations of a build are taken from which region (counted from 1), with their sizes in bytes."""

    regions: tuple[dict[int, int], ...] = ()

    def sizes(self) -> list[int]:
        """The room that each region takes."""
        taken = [sum(_room(length) for length in region.values()) for region in self.regions]
        return [(size + 2 * PAGE - 1) // PAGE * PAGE for size in taken]

    def encode(self) -> bytes:
        """What placement.c reads: for each allocation the number of its region, 0 for none."""
        table = bytearray(max(max(region, default=0) for region in self.regions) + 1)
        for number, region in enumerate(self.regions, 1):
            for allocation in region:
                table[allocation] = number
        return bytes(table)


def plan_layout(owners: bytes, written: list[list[int]], before: Layout) -> Layout:
    """Give each object that is written to a place among its like, besides those that have one already.

    `owners`: for each grain of the heap the number and the size of the allocation that begins there, as 32-bit
    numbers.  `written`: for each stage of a command, the grains that it writes to.
    """
    table = array("I", owners)
    regions = [dict(region) for region in before.regions] or [{} for _ in written]
    for region, grains in zip(regions, written, strict=True):
        for grain in grains:
            first = _beginning(table, grain)
            allocation, length = table[2 * first], table[2 * first + 1]
            # What lies between two objects is the allocator's.
            if allocation and (grain - first) * GRAIN < max(length, 1):
                region[allocation] = length
    # An object belongs to the first stage that wants it.
    for later, region in enumerate(regions):
        for earlier in regions[:later]:
            for allocation in earlier.keys() & region.keys():
                del region[allocation]
    return Layout(tuple(regions))


def _room(length: int) -> int:
    return (HEADER + length + GRAIN - 1) // GRAIN * GRAIN


def _beginning(table: "array[int]", grain: int) -> int:
    """The grain at which the object that covers this one begins."""
    while grain > 0 and table[2 * grain] == 0:
        grain -= 1
    return grain
