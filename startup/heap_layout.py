"""Which objects of the saved heap are placed side by side; see saved_heap/placement.c."""

from array import array
from dataclasses import dataclass, field

GRAIN = 16
HEADER = 8
# The stage whose writes every command does.
EVERY = 0
# What is larger is not read whole.
LARGE = 4096


@dataclass(frozen=True)
class Layout:
    """The allocations of a build that are placed: number to size in bytes, and the stages that use it as bits."""

    written: dict[int, tuple[int, int]] = field(default_factory=dict)
    read: dict[int, tuple[int, int]] = field(default_factory=dict)

    def regions(self) -> list[dict[int, int]]:
        """Allocation to size, for each region: what is wanted by the same stages lies together.

        What is written to lies apart from what is only read, because its pages are each process's own.  Of the
        first, what every command writes to comes first, then what several stages share; of the other, what most
        stages read.
        """
        written: dict[int, dict[int, int]] = {}
        for number, (size, stages) in self.written.items():
            written.setdefault(1 << EVERY if stages >> EVERY & 1 else stages, {})[number] = size
        order = sorted(written, key=lambda stages: (stages != 1 << EVERY, -stages.bit_count(), stages))
        read: dict[tuple[bool, int], dict[int, int]] = {}
        for number, (size, stages) in self.read.items():
            if number not in self.written:
                read.setdefault((size > LARGE, stages), {})[number] = size
        later = sorted(read, key=lambda kind: (-kind[1].bit_count(), kind[1], kind[0]))
        return [*(written[stages] for stages in order), *(read[kind] for kind in later)]

    def sizes(self) -> list[int]:
        """The room that each region takes."""
        return [sum(_room(length) for length in region.values()) + GRAIN for region in self.regions()]

    def encode(self) -> bytes:
        """What placement.c reads: for each allocation the number of its region, 0 for none."""
        table = bytearray(max((*self.written, *self.read), default=0) + 1)
        for number, region in enumerate(self.regions(), 1):
            for allocation in region:
                table[allocation] = number
        return bytes(table)


def plan_layout(owners: bytes, traces: list[str], before: Layout) -> Layout:
    """Give each object that is used a place among its like, besides those that have one already.

    `owners`: for each grain of the heap the number and the size of the allocation that begins there, as 32-bit
    numbers.  `traces`: for each stage of a command what tracing.c prints, lines of a grain and "read" or "written".
    """
    table = array("I", owners)
    layout = Layout(dict(before.written), dict(before.read))
    for stage, trace in enumerate(traces):
        for line in trace.splitlines():
            word, how = line.split()
            grain = int(word)
            first = _beginning(table, grain)
            allocation, length = table[2 * first], table[2 * first + 1]
            # What lies between two objects is the allocator's.
            if allocation and (grain - first) * GRAIN < max(length, 1):
                placed = layout.written if how == "written" else layout.read
                placed[allocation] = (length, placed.get(allocation, (0, 0))[1] | 1 << stage)
    return layout


def _room(length: int) -> int:
    return (HEADER + length + GRAIN - 1) // GRAIN * GRAIN


def _beginning(table: "array[int]", grain: int) -> int:
    """The grain at which the object that covers this one begins."""
    while grain > 0 and table[2 * grain] == 0:
        grain -= 1
    return grain
