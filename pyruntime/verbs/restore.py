"""pyruntime restore: not available in this version; its options are known nevertheless."""

from pyruntime.base.errors import HostError
from pyruntime.verbs.criu_options import CRIU_OPTIONS
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[options] <container-id>"
OPTIONS: tuple[Option, ...] = (
    *CRIU_OPTIONS,
    Option(names=("bundle", "b"), value=True, metavar="DIR", help="directory of the bundle"),
    Option(names=("detach", "d"), help="do not wait for the container's end"),
    Option(names=("console-socket",), value=True, metavar="PATH", help="socket that gets the terminal"),
    Option(names=("pid-file",), value=True, metavar="FILE", help="file that gets the pid"),
    Option(names=("no-subreaper",), help="do not become a subreaper"),
    Option(names=("no-pivot",), help="do not use pivot_root"),
    Option(names=("no-new-keyring",), help="keep the session keyring"),
    Option(names=("lsm-profile",), value=True, metavar="TYPE:NAME", help="security profile, TYPE:NAME"),
    Option(names=("lsm-mount-context",), value=True, metavar="CONTEXT", help="security context of mounts"),
    Option(names=("tcp-close",), help="close TCP connections"),
)


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    raise HostError("restore is not available in this version")
