"""What checkpoint and restore share of the command line: the options for CRIU."""

from pyruntime.base.errors import UsageError
from pyruntime.plan.criu import CriuOptions
from pyruntime.verbs.interface import Arguments, Option, absolute_path

CRIU_OPTIONS = (
    Option(
        names=("image-path",),
        value=True,
        metavar="DIR",
        help="directory of CRIU's image files (default: ./checkpoint)",
    ),
    Option(
        names=("work-path",),
        value=True,
        metavar="DIR",
        help="directory of CRIU's work files and log (default: that of the images)",
    ),
    Option(
        names=("parent-path",),
        value=True,
        metavar="DIR",
        help="directory of the images before these, relative to --image-path",
    ),
    Option(names=("tcp-established",), help="allow open TCP connections"),
    Option(names=("ext-unix-sk",), help="allow unix sockets to the outside"),
    Option(names=("shell-job",), help="allow a terminal of the caller's"),
    Option(names=("file-locks",), help="save file locks too"),
    Option(
        names=("manage-cgroups-mode",),
        value=True,
        metavar="MODE",
        help="soft (default), full, strict or ignore",
    ),
    Option(
        names=("empty-ns",),
        value=True,
        metavar="NAMESPACE",
        repeat=True,
        help="make this namespace (network), but leave it empty",
    ),
    Option(names=("auto-dedup",), help="remove memory images that later ones repeat"),
    Option(names=("lazy-pages",), help="bring memory pages when they are needed"),
    Option(
        names=("network-lock",),
        value=True,
        metavar="METHOD",
        help="how connections are held meanwhile: iptables, nftables or skip",
    ),
)

_CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
_NETWORK_LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}


def read_criu_options(arguments: Arguments) -> CriuOptions:
    """The options of both verbs.

    Raises:
        UsageError: one has a value that it cannot have.
    """
    mode, lock = arguments.get("manage-cgroups-mode"), arguments.get("network-lock")
    if mode and mode not in _CGROUP_MODES:
        raise UsageError(
            "Invalid manage-cgroups-mode value", where=mode, hint=f"one of: {', '.join(_CGROUP_MODES)}"
        )
    if lock and lock not in _NETWORK_LOCKS:
        raise UsageError("invalid network-lock", where=lock, hint=f"one of: {', '.join(_NETWORK_LOCKS)}")
    for name in arguments.all("empty-ns"):
        if name != "network":
            raise UsageError(f'namespace "{name}" is not supported', hint="network is the only one")
    work = arguments.get("work-path")
    return CriuOptions(
        image_path=absolute_path(arguments.get("image-path") or "checkpoint"),
        work_path=absolute_path(work) if work else "",
        parent_path=arguments.get("parent-path"),
        tcp_established=arguments.flag("tcp-established"),
        ext_unix_sk=arguments.flag("ext-unix-sk"),
        shell_job=arguments.flag("shell-job"),
        lazy_pages=arguments.flag("lazy-pages"),
        file_locks=arguments.flag("file-locks"),
        cgroups_mode=_CGROUP_MODES[mode] if mode else None,
        network_lock=_NETWORK_LOCKS[lock] if lock else None,
        auto_dedup=arguments.flag("auto-dedup"),
    )
