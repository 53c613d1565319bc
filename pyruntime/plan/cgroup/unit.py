"""The systemd driver: which transient unit a container gets, and where the cgroup of that is.  Pure.

Source: config-linux.md, "Cgroups Path"; org.freedesktop.systemd1(5); systemd.slice(5); systemd.scope(5).
"""

from pyruntime.base.decode import escape
from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.plan.cgroup.gvariant import parse_gvariant
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.cgroup.operations import UnitProperty
from pyruntime.spec.annotations import SUB_CGROUP, SYSTEMD_PROPERTY
from pyruntime.spec.config import Config

_ORIGIN = "/linux/cgroupsPath"
_PREFIX = "pyruntime"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAME_CHARACTERS = _LETTERS | frozenset("0123456789:-_.\\@")
_LONGEST_NAME = 255


class Unit(Record):
    """A transient unit: `slice` is the one that it belongs to, `path` that of its cgroup in each hierarchy."""

    name: str
    slice: str
    path: str
    of_user: bool = False
    sub_cgroup: str = ""

    @property
    def is_slice(self) -> bool:
        return self.name.endswith(".slice")


def plan_unit(config: Config, layout: CgroupLayout, container_id: str, *, of_user: bool) -> Unit:
    """The unit of a container: `cgroupsPath` is "SLICE:PREFIX:NAME" and stands for PREFIX-NAME.scope in SLICE.

    A NAME that ends in ".slice" is the unit's as it stands.  Without a path it is pyruntime-ID.scope, without a
    slice system.slice, or user.slice of the user's own systemd.

    Raises:
        SpecError: the path has another form, or a name is none that systemd takes.
    """
    asked = (config.linux.cgroups_path if config.linux is not None else "") or f":{_PREFIX}:{container_id}"
    parts = asked.split(":")
    if len(parts) != 3:
        hint = 'write "system.slice:prefix:name", or leave the option for systemd out'
        what = f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{asked}" instead'
        raise SpecError(what, where=_ORIGIN, hint=hint)
    parent, prefix, name = parts
    parent = parent or ("user.slice" if of_user else "system.slice")
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope"
    if not _NAME_CHARACTERS.issuperset(unit) or len(unit) > _LONGEST_NAME:
        hint = "names of units are made of at most 255 letters, digits and : - _ . @ and backslashes"
        raise SpecError(f"{unit!r} cannot be the name of a systemd unit", where=_ORIGIN, hint=hint)
    below = expand_slice(parent)
    path = expand_slice(unit) if unit.endswith(".slice") else f"{below}/{unit}"
    return Unit(
        name=unit,
        slice=parent,
        path=layout.systemd_path.rstrip("/") + path,
        of_user=of_user,
        sub_cgroup=_sub_cgroup(config) if layout.mode == "v2" else "",
    )


def expand_slice(name: str) -> str:
    """The path of a slice: a-b.slice lies in a.slice; -.slice is the root.

    Raises:
        SpecError: it is not the name of a slice.
    """
    base = name.removesuffix(".slice")
    if base == "-":
        return ""
    words = base.split("-")
    if base == name or "" in words or not _NAME_CHARACTERS.issuperset(name):
        hint = 'names of slices end in ".slice", and a "-" parts a slice from the one that it lies in'
        raise SpecError(f"invalid slice name: {name}", where=_ORIGIN, hint=hint)
    return "".join(f"/{'-'.join(words[: count + 1])}.slice" for count in range(len(words)))


def unit_properties(config: Config, unit: Unit, container_id: str) -> tuple[UnitProperty, ...]:
    """What the unit is made with, less limits, devices and its processes.

    Raises:
        SpecError: an annotation for a property cannot be read.
    """
    found = [UnitProperty(name="Description", signature="s", value=f"pyruntime container {container_id}")]
    if unit.is_slice:
        found.append(UnitProperty(name="Wants", signature="as", value=[unit.slice]))
    else:
        found.append(UnitProperty(name="Slice", signature="s", value=unit.slice))
        found.append(UnitProperty(name="Delegate", signature="b", value=True))
    # The kernel cannot account for memory that was charged before the controller was on.
    found += [
        UnitProperty(name=f"{name}Accounting", signature="b", value=True)
        for name in ("Memory", "CPU", "IO", "Tasks")
    ]
    # Else the unit would end before the engine's at shutdown.
    found.append(UnitProperty(name="DefaultDependencies", signature="b", value=False))
    found = [each.replace(origin=_ORIGIN) for each in found]
    return (*found, *_annotated_properties(config))


def _annotated_properties(config: Config) -> list[UnitProperty]:
    """Those of annotations "org.systemd.property.NAME", whose values are GVariants as text.

    As with runc a name in "...Sec" stands for the one in "...USec" that systemd has on the bus.
    """
    found = []
    for key, text in config.annotations.items():
        name = key.removeprefix(SYSTEMD_PROPERTY)
        if name == key:
            continue
        where = f"/annotations/{escape(key)}"
        if len(name) < 3 or not _LETTERS.issuperset(name):
            hint = "write the name of a property as in org.freedesktop.systemd1(5)"
            raise SpecError(f"annotation {key} name incorrect", where=where, hint=hint)
        signature, value = parse_gvariant(text, where)
        if name.endswith("Sec") and name[-4].islower():
            name = f"{name.removesuffix('Sec')}USec"
            if signature not in ("i", "u", "x", "t", "d") or not isinstance(value, int | float) or value < 0:
                hint = "write seconds as a number that is not negative"
                raise SpecError(f"annotation {key}={text} value parse error", where=where, hint=hint)
            signature, value = "t", int(value * 1_000_000)
        found.append(UnitProperty(origin=where, name=name, signature=signature, value=value))
    return found


def _sub_cgroup(config: Config) -> str:
    name = config.annotations.get(SUB_CGROUP, "")
    if name and (".." in name.split("/") or name.startswith("/") or not name.strip("./")):
        hint = "name a cgroup below the container's, such as container"
        where = f"/annotations/{escape(SUB_CGROUP)}"
        raise SpecError(f"invalid sub-cgroup {name!r}", where=where, hint=hint)
    return name
