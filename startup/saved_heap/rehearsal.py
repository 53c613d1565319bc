"""Run at build time in a program whose heap was saved: what commands do, so that the build learns what they write to.

For real, but for the container: its process is /bin/true on this machine, in a directory that the build removes.
Nothing here needs a privilege, and nothing but time depends on it.
"""

import os
import sys

from launcher_entry import begin

from pyruntime.base.errors import ExpectedError
from pyruntime.cli.main import main
from pyruntime.execute.foreground import SignalForwarding, wait_in_foreground
from pyruntime.plan.cgroup import CgroupPlan
from pyruntime.plan.cgroup.operations import MakeCgroup, WriteCgroupFile
from pyruntime.plan.operations import (
    PROCEED,
    READY,
    Await,
    AwaitStart,
    Clone,
    CloseInherited,
    Execute,
    FindExecutable,
    Tell,
)
from pyruntime.store.state import ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs.creation import CreateOptions, create_container, prepare
from pyruntime.verbs.delete import delete_ended
from pyruntime.verbs.start import start_container

CONTAINER = "rehearsal"
# No process has it: pid_max is at most 4194304.
NO_PROCESS = 4194305


def rehearse(stage: int, whole: int) -> None:
    """Do what every command does (stage 0), or what those do that make a plan (1), in the current directory.

    `whole`: one command after the other, to find all objects; else the one that is most like the others, because
    each takes as much new memory as this one.
    """
    output = os.dup(1)
    nowhere = os.open("/dev/null", os.O_WRONLY)
    os.dup2(nowhere, 1)
    root = f"{os.getcwd()}/containers"
    if stage == 0:
        leave_a_state(root)
        command(root, "state", CONTAINER)
    if stage == 0 and whole:
        for words in (("start",), ("kill", "TERM"), ("delete", "--force")):
            command(root, words[0], CONTAINER, *words[1:])
    if stage == 1 and whole:
        command(root, "create", "not/an/id")
        command(root, "exec", "missing", "true")
    if stage == 1:
        run_a_process(root, f"{os.getcwd()}/cgroup")
    os.dup2(output, 1)


def leave_a_state(root: str) -> None:
    """A container whose process has ended."""
    state = ContainerState(
        oci_version="1.0.2", id=CONTAINER, bundle="/none", pid=NO_PROCESS, pid_start_time=1
    )
    os.makedirs(f"{root}/{CONTAINER}", exist_ok=True)
    Store(root).save(state, b"{}")


def command(root: str, verb: str, *words: str) -> None:
    begin(["pyruntime", "--root", root, verb, *words])
    main()


def run_a_process(root: str, cgroup: str) -> None:
    """What `run` does with the config of the current directory, less all that needs a privilege."""
    store = Store(root)
    prepared = prepare(".", CONTAINER, CreateOptions())
    options = prepared.options
    operations = (
        CloseInherited(first=options.first_private),
        Clone(flags=0),
        Tell(rendezvous=READY),
        Await(rendezvous=PROCEED),
        FindExecutable(name="/bin/true", search_path=""),
        AwaitStart(fifo_fd=options.fifo_fd, failure_fd=options.failure_fd),
        Execute(arguments=("true",), environment=()),
    )
    groups = CgroupPlan(
        directories=(f"{cgroup}/own",),
        make=(MakeCgroup(path=f"{cgroup}/own", mount_point=cgroup),),
        limits=(WriteCgroupFile(path=f"{cgroup}/none", value="1", missing_ok=True),),
        paths={"": f"{cgroup}/own"},
    )
    os.mkdir(cgroup)
    plan = prepared.plan.replace(operations=operations, cgroup=groups, rlimits=(), namespaces=0)
    signals = SignalForwarding()
    try:
        state = create_container(store, prepared.replace(plan=plan), CreateOptions())
        start_container(store, state.id, state)
        wait_in_foreground(state.pid, signals)
        delete_ended(store, state)
    except ExpectedError as error:
        sys.stderr.write(f"{error}\n")
    finally:
        signals.close()
        for directory in (f"{cgroup}/own", cgroup):
            if os.path.isdir(directory):
                os.rmdir(directory)
