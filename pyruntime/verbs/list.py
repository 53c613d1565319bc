"""pyruntime list: all containers of a root directory."""

import sys

from pyruntime.base.errors import StateError, UsageError
from pyruntime.base.jsonio import dumps
from pyruntime.host.rootless import user_name
from pyruntime.store.status import state_document, status_of
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[--format table|json] [--quiet]"
OPTIONS = (
    Option(names=("format", "f"), value=True, metavar="FORMAT", help="table (default) or json"),
    Option(names=("quiet", "q"), help="only the ids"),
)
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(arguments: Arguments, options: GlobalOptions) -> int:
    kind = arguments.get("format", "table")
    if kind not in ("table", "json"):
        raise UsageError(f"invalid format option: {kind}", hint="use table or json")
    documents = list_containers(Store(options.root))
    if arguments.flag("quiet"):
        sys.stdout.write("".join(f"{document['id']}\n" for document in documents))
    elif kind == "json":
        sys.stdout.write(dumps(documents) if documents else "null")
    else:
        sys.stdout.write(_table(documents))
    return 0


def list_containers(store: Store) -> list[dict[str, object]]:
    """The state of every container, each with its owner's name."""
    documents: list[dict[str, object]] = []
    for container_id in store.list_ids():
        try:
            state = store.load(container_id)
        except StateError:
            continue  # deleted meanwhile
        document = state_document(state, status_of(state, store.directory(container_id)))
        documents.append({**document, "owner": user_name(state.owner_uid)})
    return documents


def _table(documents: list[dict[str, object]]) -> str:
    rows = [_COLUMNS, *(tuple(str(document[name.lower()]) for name in _COLUMNS) for document in documents)]
    widths = [max(12, max(len(row[column]) for row in rows) + 3) for column in range(len(_COLUMNS) - 1)]
    return "".join(
        "".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n" for row in rows
    )
