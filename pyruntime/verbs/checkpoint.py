"""pyruntime checkpoint: not available in this version; its options are known nevertheless."""

from pyruntime.base.errors import HostError
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    Option(names=("image-path",), value=True, metavar="DIR", help="directory of CRIU's image files"),
    Option(names=("work-path",), value=True, metavar="DIR", help="directory of CRIU's work files and logs"),
    Option(names=("tcp-established",), help="allow open TCP connections"),
    Option(names=("ext-unix-sk",), help="allow external unix sockets"),
    Option(names=("shell-job",), help="allow shell jobs"),
    Option(names=("file-locks",), help="handle file locks"),
    Option(names=("manage-cgroups-mode",), value=True, metavar="MODE", help="soft, full, strict or ignore"),
    Option(
        names=("empty-ns",),
        value=True,
        metavar="NAMESPACE",
        help="make a namespace, but do not handle its properties",
    ),
    Option(names=("auto-dedup",), help="remove duplicate memory images"),
    Option(names=("lazy-pages",), help="bring memory pages lazily"),
    Option(names=("parent-path",), value=True, metavar="DIR", help="directory of the images before these"),
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
    Option(names=("network-lock",), value=True, metavar="METHOD", help="how the network is locked"),
)


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    raise HostError("checkpoint is not available in this version")
