"""Run at build time in a program whose heap was saved: what commands do, so that the build learns what they write to.

Each command runs whole.  Only the outermost is replaced: what the executor does is less (its process is /bin/true on
this machine), and cgroups are plain directories below the current one, which the build removes.  Nothing here needs a
privilege, and nothing but time depends on it.
"""

import os

from launcher_entry import start

import pyruntime.verbs.creation
import pyruntime.verbs.exec
from pyruntime.execute import session
from pyruntime.execute.encoding import encode_plan
from pyruntime.host.cgroups import read_cgroup_layout
from pyruntime.host.facts import facts_for, read_host_facts
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.operations import (
    Await,
    AwaitStart,
    Clone,
    CloseInherited,
    Execute,
    FindExecutable,
    OpenDescriptor,
    Operation,
    Tell,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from typing_extensions import Buffer

WAITING, OTHER, NEW, SHORT = "waiting", "other", "new", "short"
EVERY, CREATING, EXECUTING, STARTING, KILLING, DELETING, PREPARING = range(7)


def rehearse(stage: int, whole: int) -> None:
    """Do what every command does (stage EVERY), or what those do that create, execute, start, kill or delete.

    `whole`: one command after the other, to find all objects; else the one that is most like the others, because
    each takes as much new memory as this one.  PREPARING makes the containers that the stages want, or with
    `whole` only removes them.
    """
    replace_the_outermost(bool(whole))
    streams = [os.dup(number) for number in range(3)]
    # For whoever builds with PYRUNTIME_START_VERBOSE.
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    nowhere = os.open("/dev/null", os.O_RDWR)
    for number, place in enumerate((nowhere, nowhere, said)):
        # A container keeps the streams of whoever creates it.
        os.dup2(place, number)
    try:
        for words in COMMANDS[stage, bool(whole)]:
            start(["pyruntime", "--root", f"{os.getcwd()}/containers", *words])
    finally:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)


REMOVALS = tuple(("delete", "--force", name) for name in (WAITING, OTHER, NEW, SHORT))
COMMANDS: "dict[tuple[int, bool], tuple[tuple[str, ...], ...]]" = {
    (PREPARING, True): REMOVALS,
    (PREPARING, False): (*REMOVALS, ("create", WAITING), ("create", OTHER)),
    (EVERY, False): (("state", WAITING),),
    (EVERY, True): (("state", WAITING), ("list",)),
    (CREATING, False): (("run", SHORT),),
    (CREATING, True): (("run", SHORT), ("create", NEW), ("create", "not/an/id")),
    (EXECUTING, False): (("exec", OTHER, "/bin/true"),),
    (EXECUTING, True): (("exec", OTHER, "/bin/true"), ("exec", "missing", "true")),
    (STARTING, False): (("start", WAITING),),
    (STARTING, True): (("start", WAITING),),
    (KILLING, False): (("kill", OTHER, "KILL"),),
    (KILLING, True): (("kill", OTHER, "KILL"), ("state", OTHER), ("kill", "missing")),
    (DELETING, False): (("delete", OTHER),),
    (DELETING, True): (("delete", OTHER),),
}


def replace_the_outermost(watched: bool) -> None:
    """From here on this machine's cgroups, facts and namespaces are looked at, and others are used."""
    creation, execution = pyruntime.verbs.creation, pyruntime.verbs.exec
    for module, name, other in (
        (creation, "read_cgroup_layout", _after(read_cgroup_layout, _plain_directories)),
        (creation, "facts_for", _after(facts_for, lambda _facts: HostFacts())),
        (execution, "read_host_facts", _after(read_host_facts, lambda _facts: HostFacts())),
        (session, "encode_plan", _encode_less),
        (os, "open", _open),
        (os, "write", _write_a_copy if watched else _write),
        (os, "rmdir", _remove_directory),
    ):
        setattr(module, name, other)


def _after(read: "Callable[..., Any]", then: "Callable[[Any], object]") -> "Callable[..., Any]":
    return lambda *arguments: then(read(*arguments))


def _plain_directories(layout: CgroupLayout) -> CgroupLayout:
    hierarchies = []
    for number, hierarchy in enumerate(layout.hierarchies):
        mount_point = f"{os.getcwd()}/cgroup/{number}"
        os.makedirs(mount_point, exist_ok=True)
        hierarchies.append(hierarchy.replace(mount_point=mount_point, mount_root="/", own_path="/"))
    return layout.replace(hierarchies=tuple(hierarchies))


_open_file = os.open
_write = os.write
_rmdir = os.rmdir


def _encode_less(
    operations: "tuple[Operation, ...]", *, report_steps: bool, first_step: int = 1, continues: bool = False
) -> bytes:
    whole, less = (
        encode_plan(steps, report_steps=report_steps, first_step=first_step, continues=continues)
        for steps in (operations, tuple(_without_privilege(operations)))
    )
    return less if whole else b""


def _without_privilege(operations: "Iterable[Operation]") -> "Iterable[Operation]":
    for operation in operations:
        if isinstance(operation, Clone):
            yield Clone(flags=0)
        elif isinstance(operation, CloseInherited | OpenDescriptor | Await | Tell | AwaitStart):
            yield operation
        elif isinstance(operation, Execute):
            yield FindExecutable(name="/bin/true", search_path="")
            yield Execute(arguments=("true",), environment=())


def _open(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    try:
        return _open_file(path, flags, mode, dir_fd=dir_fd)
    except FileNotFoundError:
        if flags & os.O_ACCMODE != os.O_WRONLY or not path.startswith(f"{os.getcwd()}/cgroup/"):
            raise
        # Every file of a cgroup is there, if only for who writes to it.
        return _open_file(path, flags | os.O_CREAT, 0o600)


def _write_a_copy(descriptor: int, data: "Buffer") -> int:
    # A heap that is being watched is hidden from the kernel, too; what is new is not.
    return _write(descriptor, bytes(bytearray(data)))


def _remove_directory(path: str) -> None:
    for name in os.listdir(path):
        if os.path.isfile(f"{path}/{name}"):
            os.unlink(f"{path}/{name}")
    _rmdir(path)
