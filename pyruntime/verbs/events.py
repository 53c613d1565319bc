"""pyruntime events: not available in this version; its options are known nevertheless."""

from pyruntime.base.errors import HostError
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    Option(
        names=("interval",), value=True, metavar="DURATION", help="time between two statistics, such as 5s"
    ),
    Option(names=("stats",), help="print the statistics once"),
)


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    raise HostError("events is not available in this version")
