"""pyruntime update: not available in this version; its options are known nevertheless."""

from pyruntime.base.errors import HostError
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    Option(
        names=("resources", "r"), value=True, metavar="FILE", help="file of resources, - for standard input"
    ),
    Option(names=("blkio-weight",), value=True, metavar="N", help="weight of block IO, 10 to 1000"),
    Option(names=("cpu-period",), value=True, metavar="N", help="CPU period in microseconds"),
    Option(names=("cpu-quota",), value=True, metavar="N", help="CPU time in a period, in microseconds"),
    Option(
        names=("cpu-burst",), value=True, metavar="N", help="CPU time that may be saved up, in microseconds"
    ),
    Option(names=("cpu-share",), value=True, metavar="N", help="relative weight of CPU time"),
    Option(names=("cpu-rt-period",), value=True, metavar="N", help="realtime period in microseconds"),
    Option(names=("cpu-rt-runtime",), value=True, metavar="N", help="realtime CPU time in a period"),
    Option(names=("cpuset-cpus",), value=True, metavar="N", help="CPUs that may be used"),
    Option(names=("cpuset-mems",), value=True, metavar="N", help="memory nodes that may be used"),
    Option(names=("memory",), value=True, metavar="N", help="memory limit in bytes"),
    Option(names=("memory-reservation",), value=True, metavar="N", help="soft memory limit in bytes"),
    Option(names=("memory-swap",), value=True, metavar="N", help="limit of memory and swap in bytes"),
    Option(names=("kernel-memory",), value=True, metavar="N", help="obsolete"),
    Option(names=("kernel-memory-tcp",), value=True, metavar="N", help="obsolete"),
    Option(names=("cpu-idle",), value=True, metavar="N", help="1: run only when the CPU is idle"),
    Option(names=("pids-limit",), value=True, metavar="N", help="greatest number of processes"),
    Option(names=("l3-cache-schema",), value=True, metavar="N", help="schema of the L3 cache"),
    Option(names=("mem-bw-schema",), value=True, metavar="N", help="schema of the memory bandwidth"),
)


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    raise HostError("update is not available in this version")
