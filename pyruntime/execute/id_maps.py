"""The id maps of a new user namespace.  Source: user_namespaces(7); newuidmap(1)."""

import errno
import os

from pyruntime.base.errors import HostError, StepError, errno_text
from pyruntime.plan.launch import IdMaps

_HELPER_HINT = (
    "install newuidmap and newgidmap (package uidmap) and add ranges to /etc/subuid and /etc/subgid"
)


def write_id_maps(pid: int, maps: IdMaps, *, user_id: int) -> None:
    """Give the user namespace of `pid` its maps, through newuidmap and newgidmap where the kernel says no.

    An unprivileged user may map only one group by itself, and only after giving up setgroups.

    Raises:
        HostError: the programs newuidmap and newgidmap are needed and missing, or refuse.
        StepError: the kernel refuses the map.
    """
    if user_id != 0 and _single(maps.gid_map):
        _write(f"/proc/{pid}/setgroups", "deny")
    for kind, text in (("uid", maps.uid_map), ("gid", maps.gid_map)):
        path = f"/proc/{pid}/{kind}_map"
        try:
            _write(path, text)
        except OSError as error:
            if error.errno != errno.EPERM or user_id == 0:
                raise StepError(
                    f"{maps.describe()}: write {path}: {errno_text(error.errno or 0)}",
                    where=f"/linux/{kind}Mappings",
                    hint="every host id of the map must be one that the caller may use, and no range may overlap",
                    call="write",
                    errno=error.errno or 0,
                ) from None
            _run_helper(f"new{kind}map", pid, text, f"/linux/{kind}Mappings")


def _single(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) == 1 and lines[0].split()[2] == "1"


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _run_helper(program: str, pid: int, text: str, where: str) -> None:
    arguments = [program, str(pid), *text.split()]
    try:
        helper = os.posix_spawnp(program, arguments, os.environ)
    except FileNotFoundError:
        raise HostError(f"{program} is missing on this host", where=where, hint=_HELPER_HINT) from None
    status = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if status != 0:
        raise HostError(
            f"{program} refused the id map (exit status {status})", where=where, hint=_HELPER_HINT
        )
