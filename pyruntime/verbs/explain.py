"""pyruntime explain: print the plan of a container without doing anything."""

from pyruntime.base.errors import UsageError
from pyruntime.base.jsonio import dumps
from pyruntime.base.record import values_of
from pyruntime.plan.launch import LaunchPlan
from pyruntime.plan.operations import (
    CGROUPS_READY,
    CLONE_CGROUP_READY,
    HOOKS_WANTED,
    MAPS_WRITTEN,
    READY,
    Await,
    Operation,
    Tell,
)
from pyruntime.verbs.creation import CreateOptions, prepare
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "[options] [bundle (default: the current directory)]"
OPTIONS = (
    Option(names=("format", "f"), value=True, metavar="FORMAT", help="text (default) or json"),
    Option(names=("no-pivot",), help="plan for --no-pivot"),
)


def run(arguments: Arguments, options: GlobalOptions) -> int:
    form = arguments.get("format") or "text"
    if form not in ("text", "json"):
        raise UsageError(f'invalid format "{form}"', hint="use text or json")
    bundle = arguments.positional[0] if arguments.positional else "."
    create = CreateOptions(no_pivot=arguments.flag("no-pivot"), cgroup_manager=options.cgroup_manager)
    prepared = prepare(bundle, "container", create)
    print_plan(prepared.plan, as_json=form == "json")
    return 0


def print_plan(plan: LaunchPlan, *, as_json: bool = False) -> None:
    """Write the plan to standard output."""
    lanes = plan_lines(plan)
    if as_json:
        entries = [
            {"lane": lane, "step": step, "does": does, "origin": origin, **extra}
            for lane, step, does, origin, extra in lanes
        ]
        write_output(dumps(entries, indent=2) + "\n")
        return
    width = min(100, max(len(does) for _, _, does, _, _ in lanes))
    write_output(
        "".join(
            f"{lane:<9} {step:>3}  {does:<{width}}  {origin}".rstrip() + "\n"
            for lane, step, does, origin, _ in lanes
        )
    )


def plan_lines(plan: LaunchPlan) -> list[tuple[str, int, str, str, dict[str, object]]]:
    """(lane, step, what it does, origin, arguments) of both lanes, the parent's steps where they happen."""
    lines: list[tuple[str, int, str, str, dict[str, object]]] = []
    parent = 0

    def add(steps: "list[tuple[str, str]]") -> None:
        nonlocal parent
        for does, origin in steps:
            parent += 1
            lines.append(("parent", parent, does, origin, {}))

    for number, operation in enumerate(plan.operations, 1):
        add(_parent_steps(plan, operation))
        name = type(operation).__name__
        values = {key: _shown(value) for key, value in values_of(operation).items() if key != "origin"}
        lines.append(
            ("executor", number, operation.describe(), operation.origin, {"operation": name, **values})
        )
    add(_hooks(plan, "poststart"))
    return lines


def _hooks(plan: LaunchPlan, *names: str) -> list[tuple[str, str]]:
    return [(hook.describe(), hook.origin) for hook in plan.host_hooks if hook.name in names]


def _parent_steps(plan: LaunchPlan, before: Operation) -> list[tuple[str, str]]:
    """What the parent does before the executor takes this step."""
    # The first is made in advance if the container's init is to be cloned into it.
    in_advance = 1 if plan.joins_late and plan.cgroup.clone_directory else 0
    if isinstance(before, Await) and before.rendezvous == CLONE_CGROUP_READY:
        return [line for step in plan.cgroup.make[:in_advance] for line in step.lines()]
    if isinstance(before, Await) and before.rendezvous == CGROUPS_READY:
        resctrl = [(plan.resctrl.describe(), "/linux/intelRdt")] if plan.resctrl is not None else []
        return [line for step in plan.cgroup.make[in_advance:] for line in step.lines()] + resctrl
    if isinstance(before, Await) and before.rendezvous == MAPS_WRITTEN and plan.id_maps is not None:
        return [(plan.id_maps.describe(), "/linux/uidMappings")]
    if isinstance(before, Tell) and before.rendezvous == HOOKS_WANTED:
        limits = [line for step in plan.cgroup.limits for line in step.lines()]
        devices = [(step.describe(), step.origin) for step in plan.net_devices]
        return limits + devices + _hooks(plan, "prestart", "createRuntime")
    if isinstance(before, Tell) and before.rendezvous == READY:
        return [(limit.describe(), limit.origin) for limit in plan.rlimits]
    return []


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
