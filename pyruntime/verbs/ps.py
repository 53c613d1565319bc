"""pyruntime ps: the processes of a container."""

import os

from pyruntime.base.errors import HostError, UsageError
from pyruntime.base.jsonio import dumps
from pyruntime.execute.cgroups import processes_in
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "[--format table|json] <container-id> [ps options]"
OPTIONS = (Option(names=("format", "f"), value=True, metavar="FORMAT", help="table (default) or json"),)


def run(arguments: Arguments, options: GlobalOptions) -> int:
    kind = arguments.get("format", "table")
    if kind not in ("table", "json"):
        raise UsageError(f"invalid format option: {kind}", hint="use table or json")
    pids = processes_in(Store(options.root).load(arguments.positional[0]).cgroup_directories)
    if kind == "json":
        write_output(dumps(pids) + "\n")
        return 0
    write_output(_table(pids, arguments.positional[1:] or ["-ef"]))
    return 0


def _table(pids: list[int], options: list[str]) -> str:
    """The host's ps, with only the rows of these processes."""
    import subprocess

    try:
        printed = subprocess.run(
            ["ps", *options],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            env=dict(os.environ),
        )
    except FileNotFoundError:
        raise HostError("ps is missing on this host", hint="install procps, or use --format json") from None
    if printed.returncode != 0:
        raise UsageError(f"ps: {printed.stderr.strip()}", hint="the options after the id are those of ps")
    header, *rows = printed.stdout.splitlines()
    columns = header.split()
    if "PID" not in columns:
        raise UsageError("couldn't find PID field in ps output", hint="choose options of ps that show PID")
    place, wanted = columns.index("PID"), {str(pid) for pid in pids}
    return "\n".join([header, *(row for row in rows if row.split()[place] in wanted)]) + "\n"
