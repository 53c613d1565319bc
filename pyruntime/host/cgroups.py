"""Finds the mounted cgroup hierarchies.  Source: cgroups(7), proc(5)."""

from pyruntime.base.files import read_file
from pyruntime.plan.cgroup.layout import CgroupLayout, Hierarchy


def read_cgroup_layout() -> CgroupLayout:
    """The hierarchies that this process sees, from /proc/self/mountinfo; no path is guessed."""
    layout = parse_cgroup_layout(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    return layout.replace(
        hierarchies=tuple(
            hierarchy
            if hierarchy.version == 1
            else hierarchy.replace(
                controllers=tuple(_read(f"{hierarchy.mount_point}/cgroup.controllers").split())
            )
            for hierarchy in layout.hierarchies
        )
    )


def parse_cgroup_layout(mountinfo: str, own: str) -> CgroupLayout:
    """The layout told by the texts of mountinfo and of /proc/self/cgroup."""
    paths = _own_paths(own)
    found: dict[tuple[str, ...], Hierarchy] = {}
    for line in mountinfo.splitlines():
        # Most of a busy host's lines are not cgroups: do not take them apart.
        if " - cgroup" not in line:
            continue
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ", 2)
        mount_root, mount_point = unescape(fields[3]), unescape(fields[4])
        if kind == "cgroup2":
            found.setdefault(
                (),
                Hierarchy(
                    version=2,
                    controllers=(),
                    mount_point=mount_point,
                    mount_root=mount_root,
                    own_path=paths.get("", "/"),
                    options=tuple(option for option in options.split(",") if option not in ("rw", "ro")),
                ),
            )
        elif kind == "cgroup":
            controllers = _controllers(options, paths)
            if controllers:
                own_path = paths.get(controllers[0], "/")
                found.setdefault(
                    controllers,
                    Hierarchy(
                        version=1,
                        controllers=controllers,
                        mount_point=mount_point,
                        mount_root=mount_root,
                        own_path=own_path,
                    ),
                )
    versions = {hierarchy.version for hierarchy in found.values()}
    mode = "hybrid" if versions == {1, 2} else "v1" if 1 in versions else "v2" if 2 in versions else "none"
    return CgroupLayout(mode=mode, hierarchies=tuple(found.values()))


def _own_paths(own: str) -> dict[str, str]:
    """Controller (or "name=x", or "" for v2) to the path of this process."""
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _controllers(options: str, known: dict[str, str]) -> tuple[str, ...]:
    return tuple(option for option in options.split(",") if option in known)


def unescape(path: str) -> str:
    if "\\" not in path:
        return path
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def _read(path: str) -> str:
    try:
        return read_file(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
