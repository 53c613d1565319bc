"""pyruntime checkpoint: not available in this version; its options are known nevertheless."""

from pyruntime.base.errors import HostError
from pyruntime.verbs.criu_options import CRIU_OPTIONS
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    *CRIU_OPTIONS,
    Option(names=("leave-running",), help="leave the container running"),
    Option(names=("tcp-skip-in-flight",), help="skip TCP connections that are being made"),
    Option(names=("link-remap",), help="allow remapped links"),
    Option(
        names=("status-fd",),
        value=True,
        metavar="FD",
        help="descriptor that is told when lazy pages are ready",
    ),
    Option(names=("page-server",), value=True, metavar="ADDRESS", help="address of CRIU's page server"),
    Option(names=("pre-dump",), help="dump the memory only"),
)


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    raise HostError("checkpoint is not available in this version")
