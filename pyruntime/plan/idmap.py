"""Idmapped mounts: whose mapping a bind mount gets.

Source: config.md, "Mounts"; mount_setattr(2); crun(1), "idmap mount options".
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.plan.mount_options import MountOptions
from pyruntime.plan.view import NAMESPACE_FLAGS, ContainerView
from pyruntime.spec.config import Mount
from pyruntime.spec.linux import IdMapping, Linux


class Mapping(Record):
    """Text as for /proc/PID/uid_map and gid_map, or the path of a user namespace that has it."""

    uid_map: str = ""
    gid_map: str = ""
    namespace: str = ""


def plan_idmap(view: ContainerView, entry: Mount, options: MountOptions, origin: str) -> Mapping | None:
    """The mapping of a bind mount, or None: its own, that in the option, or that of the container.

    Raises:
        SpecError: there is none to use, or the option is malformed.
    """
    if entry.uid_mappings or entry.gid_mappings:
        return Mapping(uid_map=id_map_text(entry.uid_mappings), gid_map=id_map_text(entry.gid_mappings))
    if not options.idmap:
        return None
    linux = view.config.linux or Linux()
    own = Mapping(uid_map=id_map_text(linux.uid_mappings), gid_map=id_map_text(linux.gid_mappings))
    if options.idmap_ranges:
        uids, gids = _read_ranges(options.idmap_ranges, linux, origin)
        own = Mapping(uid_map=uids or own.uid_map, gid_map=gids or own.gid_map)
    elif NAMESPACE_FLAGS["user"] in view.joined:
        return Mapping(namespace=view.joined[NAMESPACE_FLAGS["user"]][0])
    if not own.uid_map or not own.gid_map:
        hint = (
            'give the mount "uidMappings" and "gidMappings", or the container a user namespace with mappings'
        )
        raise SpecError("idmap mount has no mappings to use", where=origin, hint=hint)
    return own


def _read_ranges(text: str, linux: Linux, origin: str) -> tuple[str, str]:
    """uids=ID-ID-SIZE[#...];gids=...: from what is on disk to what is seen, as texts for a uid_map and a gid_map.

    With @ in front the second number is one of the container's.
    """
    found = {"uids": "", "gids": ""}
    for part in text.split(";"):
        kind, equals, ranges = part.partition("=")
        if kind not in found or not equals:
            raise _malformed(text, origin)
        table = linux.uid_mappings if kind == "uids" else linux.gid_mappings
        for each in ranges.split("#"):
            numbers = each.removeprefix("@").split("-")
            if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
                raise _malformed(text, origin)
            first, second, size = map(int, numbers)
            if each.startswith("@"):
                second = _host_id(second, size, table, kind, origin)
            found[kind] += f"{first} {second} {size}\n"
    return found["uids"], found["gids"]


def _host_id(number: int, size: int, table: tuple[IdMapping, ...], kind: str, origin: str) -> int:
    for entry in table:
        offset = number - entry.container_id
        if offset >= 0 and offset + size <= entry.size:
            return entry.host_id + offset
    hint = f"add a range to linux.{kind[0]}idMappings, or leave the @ out"
    what = f"{kind} {number} of an idmap option are not mapped in the container"
    raise SpecError(what, where=origin, hint=hint)


def _malformed(text: str, origin: str) -> SpecError:
    hint = "write idmap=uids=0-1000-10#10-2000-5;gids=0-1000-10: on disk, on the host, how many"
    return SpecError(f"invalid idmap option {text!r}", where=f"{origin}/options", hint=hint)


def id_map_text(mappings: tuple[IdMapping, ...]) -> str:
    """Mappings as /proc/PID/uid_map takes them: lines of container id, host id, size."""
    return "".join(f"{mapping.container_id} {mapping.host_id} {mapping.size}\n" for mapping in mappings)
