"""What checkpoint and restore share of the command line: the options for CRIU."""

from pyruntime.verbs.interface import Option

CRIU_OPTIONS = (
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
    Option(names=("network-lock",), value=True, metavar="METHOD", help="how the network is locked"),
)
