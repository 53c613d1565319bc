"""pyruntime list: the containers below the root."""

from pyruntime.base.errors import StateError, UsageError
from pyruntime.base.jsonio import dumps
from pyruntime.host.rootless import user_name
from pyruntime.store.status import state_document, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "[--format table|json] [--quiet]"
OPTIONS: tuple[Option, ...] = (
    Option(
        names=("format", "f"), value=True, metavar="FORMAT", help="table (default) or json", default="table"
    ),
    Option(names=("quiet", "q"), help="only the ids"),
)
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_LEAST_WIDTH = 12
_PADDING = 3


def run(arguments: Arguments, options: GlobalOptions) -> int:
    store = Store(options.root)
    form = arguments.get("format", "table")
    if form not in ("table", "json"):
        raise UsageError("invalid format option", hint="one of: table, json")
    if arguments.flag("quiet"):
        write_output("".join(f"{container_id}\n" for container_id in store.list_ids()))
        return 0
    documents = list_containers(store)
    if form == "table":
        write_output(table(documents))
    else:
        write_output((dumps(documents) if documents else "null") + "\n")
    return 0


def list_containers(store: Store) -> list[dict[str, object]]:
    """The state of every container, each with its owner's name; one that is half made is left out."""
    documents: list[dict[str, object]] = []
    for container_id in store.list_ids():
        try:
            state = store.load(container_id)
        except StateError:
            continue
        document = state_document(state, status_of(state, store.directory(container_id)))
        documents.append({**document, "owner": user_name(state.owner_uid)})
    return documents


def table(documents: list[dict[str, object]]) -> str:
    """The states as a table, in runc's column widths."""
    rows = [_COLUMNS, *(tuple(str(document[name.lower()]) for name in _COLUMNS) for document in documents)]
    widths = [
        max(_LEAST_WIDTH, max(len(row[column]) for row in rows) + _PADDING)
        for column in range(len(_COLUMNS) - 1)
    ]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + f"{row[-1]}\n"
        for row in rows
    )
