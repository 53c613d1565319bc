"""Which of a container's cgroups one more process goes to: `exec --cgroup [controller[,controller...]:]path`."""

import os

from pyruntime.base.errors import UsageError
from pyruntime.execute.cgroups import read_value
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.store.state import ContainerState


def exec_cgroup(state: ContainerState, wanted: tuple[str, ...]) -> CgroupPlan:
    """The cgroups to enter, none of which is made: the container's own, or those below them that are wanted.

    Raises:
        UsageError: a path leaves the container's cgroup, or a controller is unknown or named twice.
    """
    paths = dict(state.cgroup_paths)
    for controller, path in _parse(wanted, tuple(paths)).items():
        if controller not in paths:
            hint = f"the container has {', '.join(filter(None, paths)) or 'cgroup v2: name the path alone'}"
            raise UsageError(f"unknown controller {controller} in --cgroup", hint=hint)
        directory = os.path.normpath(f"{paths[controller]}/{path}")
        if not f"{directory}/".startswith(f"{paths[controller]}/"):
            raise UsageError(
                f"{path} is not a sub cgroup path", hint="paths are relative to the container's cgroup"
            )
        if not os.path.isdir(directory):
            hint = "make it first: mkdir it below the container's cgroup"
            raise UsageError(f"the cgroup {directory} does not exist", hint=hint)
        paths[controller] = directory
    if not wanted and "" in paths and not _takes_processes(paths[""]):
        paths[""] = _cgroup_of(state.pid) or paths[""]
    return CgroupPlan(
        join_files=tuple(dict.fromkeys(f"{path}/tasks" for controller, path in paths.items() if controller)),
        clone_directory=paths.get("", ""),
        unit=state.systemd_unit,
        unit_of_user=state.systemd_of_user,
        attach=_attachment(state, paths.get("", "")),
    )


def _attachment(state: ContainerState, directory: str) -> str:
    """Where below the unit's cgroup the user's systemd has to move us, if we may not go there ourselves.

    The kernel wants the right to write to the closest cgroup above both, and that of a login session, which lies beside
    the user's systemd and not below, is not the user's (crun#376, podman#14851).
    """
    if not state.systemd_of_user:
        return ""
    before, service, rest = directory.partition("/user@")
    above = f"{before}{service}{rest.partition('/')[0]}"
    if not service or f"{_cgroup_of(os.getpid())}/".startswith(f"{above}/"):
        return ""
    return directory.partition(f"/{state.systemd_unit}")[2] or "/"


def _takes_processes(directory: str) -> bool:
    """Whether a v2 cgroup is there and is a leaf: the container may have made its own cgroup an inner node."""
    return os.path.isdir(directory) and not read_value(f"{directory}/cgroup.subtree_control")


def _cgroup_of(pid: int) -> str:
    """The v2 cgroup that a process is in now, or "" if it cannot be seen from here."""
    from pyruntime.host.cgroups import read_cgroup_layout

    lines = read_value(f"/proc/{pid}/cgroup").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::/")), "")
    for hierarchy in read_cgroup_layout().hierarchies:
        if hierarchy.version == 2 and path and "/.." not in path:
            root = hierarchy.mount_root.rstrip("/")
            directory = hierarchy.mount_point + path.removeprefix(root)
            return directory if os.path.isdir(directory) else ""
    return ""


def _parse(wanted: tuple[str, ...], controllers: tuple[str, ...]) -> dict[str, str]:
    """Controller to relative path; a path without controllers is for all of them."""
    found: dict[str, str] = {}
    for word in wanted:
        names, colon, path = word.partition(":")
        if not colon:
            if len(wanted) != 1:
                hint = "write CONTROLLER:PATH, or one path alone"
                raise UsageError(
                    f"invalid --cgroup argument: {word} (missing <controller>: prefix)", hint=hint
                )
            # Beside v1 hierarchies the v2 one has no controllers, and no such cgroup in it.
            legacy = [controller for controller in controllers if controller]
            return dict.fromkeys(legacy or controllers, word)
        for name in names.split(","):
            if not name:
                hint = "name the controller before the colon"
                raise UsageError(f"invalid --cgroup argument: {word} (empty <controller> prefix)", hint=hint)
            if name in found:
                hint = "name each controller once"
                what = f"invalid --cgroup argument(s): controller {name} specified multiple times"
                raise UsageError(what, hint=hint)
            found[name] = path
    return found
