"""pyruntime doctor: what this host offers to containers, and what it lacks."""

from pyruntime.base.errors import UsageError
from pyruntime.base.jsonio import dumps
from pyruntime.host.capability import host_report
from pyruntime.host.cgroups import read_cgroup_layout
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "[options]"
OPTIONS = (Option(names=("format", "f"), value=True, metavar="FORMAT", help="text (default) or json"),)


def run(arguments: Arguments, options: GlobalOptions) -> int:
    form = arguments.get("format") or "text"
    if form not in ("text", "json"):
        raise UsageError(f'invalid format "{form}"', hint="use text or json")
    entries = [*host_report(read_cgroup_layout()), ("state directory", options.root, "")]
    if form == "json":
        rows = [{"subject": subject, "found": found, "remark": remark} for subject, found, remark in entries]
        write_output(dumps(rows, indent=2) + "\n")
        return 0
    width = max(len(subject) for subject, _, _ in entries)
    write_output(
        "".join(
            f"{subject:<{width}}  {found}\n" + (f"{'':<{width}}    {remark}\n" if remark else "")
            for subject, found, remark in entries
        )
    )
    return 0
