"""pyruntime validate: every fault of a bundle at once, without making anything.

Form (the specification's schema and the decoder), rules, what planning refuses, and what this host lacks.
"""

from pyruntime.base.decode import decode
from pyruntime.base.errors import ExpectedError, HostError, SpecError, UsageError
from pyruntime.base.jsonio import dumps, loads
from pyruntime.base.record import Record
from pyruntime.host.capability import host_faults
from pyruntime.host.cgroups import read_cgroup_layout
from pyruntime.host.facts import facts_for
from pyruntime.plan.launch import plan_create
from pyruntime.plan.options import LaunchOptions
from pyruntime.spec.annotations import with_annotations
from pyruntime.spec.config import Config
from pyruntime.spec.explain import schema_faults
from pyruntime.spec.load import read_text
from pyruntime.spec.rules import check_rules_in_order
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, absolute_path, write_output

USAGE = "[options] [bundle (default: the current directory)]"
OPTIONS = (
    Option(names=("format", "f"), value=True, metavar="FORMAT", help="text (default) or json"),
    Option(names=("no-host",), help="leave out what depends on this host"),
)
_MOST = 200
_STAND_IN = "/validate"  # for a required text that is refused: most of them are paths
_STAND_IN_VERSION = "1.0.0"


class Fault(Record):
    """One thing that is wrong: `kind` is form, rule or host; `where` a JSON pointer or a path."""

    kind: str
    where: str
    what: str
    hint: str = ""


def run(arguments: Arguments, options: GlobalOptions) -> int:
    form = arguments.get("format") or "text"
    if form not in ("text", "json"):
        raise UsageError(f'invalid format "{form}"', hint="use text or json")
    bundle = absolute_path(arguments.positional[0] if arguments.positional else ".")
    faults = find_faults(
        read_text(f"{bundle}/config.json"),
        bundle,
        cgroup_manager=options.cgroup_manager,
        ask_host=not arguments.flag("no-host"),
    )
    if form == "json":
        entries = [
            {"kind": fault.kind, "where": fault.where, "what": fault.what, "hint": fault.hint}
            for fault in faults
        ]
        write_output(dumps(entries, indent=2) + "\n")
    else:
        write_output("".join(map(_paragraph, faults)))
        write_output(f"{len(faults)} fault{'s' * (len(faults) != 1)}\n" if faults else "valid\n")
    return 1 if faults else 0


def _paragraph(fault: Fault) -> str:
    hint = f"    {fault.hint}\n" if fault.hint else ""
    return f"{fault.where or '/'}: {fault.what}\n{hint}"


def find_faults(
    text: bytes, bundle: str, *, cgroup_manager: str = "cgroupfs", ask_host: bool = True
) -> list[Fault]:
    """All faults of a config, in the order form, rules, host; a place is named once."""
    try:
        document = loads(text, where="config.json")
    except SpecError as error:
        return [Fault(kind="form", where=error.where, what=error.what, hint=error.hint)]
    search = _Search(document, bundle, cgroup_manager)
    for fault in schema_faults(document):
        search.add("form", fault, fault.where)
    config = search.search()
    if ask_host and config is not None:
        for shortage in host_faults(config, bundle):
            search.add("host", shortage, shortage.where)
    return search.faults


class _Search:
    """Takes out of the document what is refused, and looks again, until nothing is refused any more."""

    def __init__(self, document: object, bundle: str, cgroup_manager: str) -> None:
        self.faults: list[Fault] = []
        self._document = document
        self._bundle = bundle
        self._cgroup_manager = cgroup_manager
        # JSON pointer of a list (as in the original) -> the original indexes of what is left of it.
        self._left: dict[str, list[int]] = {}

    def add(self, kind: str, error: ExpectedError, where: str) -> None:
        if not any(fault.where == where for fault in self.faults):
            self.faults.append(Fault(kind=kind, where=where, what=error.what, hint=error.hint))

    def search(self) -> Config | None:
        """The config without its faults, or None if what is left is none."""
        layout = read_cgroup_layout()
        removed: list[str] = []
        for _ in range(_MOST):
            kind, config = "form", None
            try:
                config = with_annotations(decode(Config, self._document))
                kind = "rule"
                check_rules_in_order(config)
                options = LaunchOptions(cgroup_manager=self._cgroup_manager)
                plan_create(config, "container", self._bundle, facts_for(config), layout, options)
            except ExpectedError as error:
                where = self._original(error.where)
                # What is missing only because it has been taken out is no fault of the config's.
                if not any(place == where or place.startswith(f"{where}/") for place in removed):
                    self.add("host" if isinstance(error, HostError) else kind, error, where)
                if not self._remove(error.where):
                    return config
                removed.append(where)
                continue
            return config
        return None

    def _original(self, pointer: str) -> str:
        """A pointer into what is left of the document, as one into the whole of it."""
        place = ""
        for part in pointer.split("/")[1:]:
            indexes = self._left.get(place)
            known = indexes is not None and part.isdecimal() and int(part) < len(indexes)
            place += f"/{indexes[int(part)]}" if indexes is not None and known else f"/{part}"
        return place or pointer

    def _remove(self, pointer: str) -> bool:
        """Take the thing at the pointer away, or what is nearest above it; False if nothing can go."""
        parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        path: list[tuple[object, str]] = []
        node = self._document
        for part in parts:
            if isinstance(node, dict) and part in node:
                path.append((node, part))
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                path.append((node, part))
                node = node[int(part)]
            else:
                break
        if not path:
            return False
        parent, last = path[-1]
        if isinstance(parent, dict):
            above = "".join(f"/{part}" for part in pointer.split("/")[1 : len(path)])
            value = parent.pop(last)
            if self._lacks(above):
                if not isinstance(value, str) or value == _STAND_IN:
                    return self._remove(above)
                parent[last] = _STAND_IN_VERSION if last == "ociVersion" else _STAND_IN
        elif isinstance(parent, list):
            place = self._original("".join(f"/{part}" for part in pointer.split("/")[1 : len(path)]))
            self._left.setdefault(place, list(range(len(parent)))).pop(int(last))
            parent.pop(int(last))
        return True

    def _lacks(self, pointer: str) -> bool:
        """Whether the object at the pointer cannot be without what has just been taken out of it."""
        try:
            decode(Config, self._document)
        except SpecError as error:
            return error.where == (pointer or "/") and "is missing" in error.what
        return False
