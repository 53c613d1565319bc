"""pyruntime restore: not available in this version; its options are known nevertheless."""

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
    Option(names=("bundle", "b"), value=True, metavar="DIR", help="directory of the bundle"),
    Option(names=("detach", "d"), help="do not wait for the container's end"),
    Option(names=("console-socket",), value=True, metavar="PATH", help="socket that gets the terminal"),
    Option(names=("pid-file",), value=True, metavar="FILE", help="file that gets the pid"),
    Option(names=("no-subreaper",), help="do not become a subreaper"),
    Option(names=("no-pivot",), help="do not use pivot_root"),
    Option(names=("no-new-keyring",), help="keep the session keyring"),
    Option(names=("parent-path",), value=True, metavar="DIR", help="directory of the images before these"),
    Option(names=("lsm-profile",), value=True, metavar="TYPE:NAME", help="security profile, TYPE:NAME"),
    Option(names=("lsm-mount-context",), value=True, metavar="CONTEXT", help="security context of mounts"),
    Option(names=("tcp-close",), help="close TCP connections"),
    Option(names=("network-lock",), value=True, metavar="METHOD", help="how the network is locked"),
)


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    raise HostError("restore is not available in this version")
