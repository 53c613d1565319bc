"""Run at build time before the heap is saved: the pure functions of every command's way, on made-up input.

What the interpreter and the program find out at first use (specialised bytecode, looked-up methods, the decoder of
each record) is then in the saved heap, and a command takes fewer instructions and writes to fewer pages.  Nothing
here reads anything of the machine: the build saves twice and compares.  So whatever reads a file reads one that was
made here, and nothing asks for the time, a process or the properties of a file.
"""

import os
import sys
from types import FunctionType, ModuleType

from pyruntime.base.errors import StateError
from pyruntime.base.jsonio import dumps, loads
from pyruntime.base.timestamp import utc
from pyruntime.cli.main import main
from pyruntime.cli.options import GLOBAL_OPTIONS, parse, parse_globals, parse_verb
from pyruntime.execute.cgroups import read_value, write_value
from pyruntime.execute.encoding import encode_plan
from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.host.freezer import is_frozen
from pyruntime.host.process import parse_start_time
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import plan_create
from pyruntime.plan.options import LaunchOptions
from pyruntime.spec.default import default_config
from pyruntime.spec.load import decode_config
from pyruntime.spec.rules import check_rules
from pyruntime.store.state import ContainerState
from pyruntime.store.status import state_document
from pyruntime.store.store import Store
from pyruntime.verbs import VERBS
from pyruntime.verbs.kill import kill_container
from pyruntime.verbs.start import start_container
from pyruntime.verbs.state import container_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Bytecode is specialised after its eighth run at the latest.
ROUNDS = 10
MOUNTS = (
    "25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw",
    "31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs rw,mode=755",
    "32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate",
    *(
        f"{number} 31 0:{number} / /sys/fs/cgroup/{name} rw,nosuid shared:{number} - cgroup cgroup rw,{name}"
        for number, name in enumerate(("memory", "cpu,cpuacct", "devices", "pids", "freezer"), start=33)
    ),
)
OWN = "6:memory:/\n5:cpu,cpuacct:/\n4:devices:/\n3:pids:/\n2:freezer:/\n0::/\n"
STAT = "7 (name of (it)) S " + " ".join(str(number) for number in range(4, 53))


def plan_a_container() -> None:
    """Read, check, plan and encode the default config, as `create` does."""
    config = decode_config(dumps(default_config(rootless=False, uid=0, gid=0), indent=2).encode())
    check_rules(config)
    layout = parse_cgroup_layout("\n".join(MOUNTS) + "\n", OWN)
    options = LaunchOptions(fifo_fd=35, failure_fd=36)
    plan = plan_create(config, "warm", "/warm", HostFacts(), layout, options)
    encode_plan(plan.operations, report_steps=False)


def keep_a_state() -> None:
    """Write and read a state, as every verb does."""
    state = ContainerState(oci_version="1.0.2", id="warm", bundle="/warm", cgroup_paths={"": "/warm"})
    state = state.replace(pid=7, pid_start_time=parse_start_time(STAT), created=utc(7))
    loads(dumps(state_document(state, "created"), indent=2).encode())


def read_command_lines(verbs: "tuple[str, ...]") -> None:
    """Parse a command line of each of these verbs."""
    for verb in verbs:
        module, least, most = VERBS[verb]
        words = [
            "--root",
            "/warm",
            "--log",
            "/warm/log",
            "--log-format",
            "json",
            verb,
            *["warm"] * (least or 1),
        ]
        arguments = parse(words, GLOBAL_OPTIONS, stop_at_positional=True)
        parse_globals(arguments, {})
        if most != 0:
            parse_verb(verb, arguments.positional[1:], sys.modules[module].OPTIONS)


def run_commands() -> None:
    """Whole commands, on a container that has no process."""
    # The working directory is the build's, and differs; descriptors are the first that are free.
    root = "/proc/self/cwd/warm-up"
    os.closerange(3, 64)
    os.mkdir(root)
    freezer = os.open(f"{root}/freezer.state", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(freezer, b"THAWED\n")
    os.close(freezer)
    store = Store(root)
    state = ContainerState(
        oci_version="1.0.2",
        id="warm",
        bundle="/warm",
        cgroup_directories=(f"{root}/own",),
        cgroup_paths={"freezer": root},
    )
    for _ in range(ROUNDS):
        os.mkdir(f"{root}/own")
        store.reserve("warm")
        store.save(state, b"{}")
        store.make_gate("warm")
        store.change(state, pid_start_time=1)
        refused(start_container, store, "warm")
        refused(kill_container, store, "warm", 9)
        container_state(store, "warm")
        write_value(f"{root}/freezer.state", f"{read_value(f'{root}/freezer.state')}\n")
        is_frozen(state.cgroup_paths)
        main(["--root", root, "kill", "--all", "warm", "KILL"])
        main(["--root", root, "delete", "warm"])
    os.unlink(f"{root}/freezer.state")
    os.rmdir(root)


def refused(command: "Callable[..., None]", *arguments: object) -> None:
    """Let a container without a process refuse a command."""
    try:
        command(*arguments)
    except StateError:
        return
    raise AssertionError(f"{command.__name__} has found a process")


def look_up_attributes() -> None:
    """Ask classes and modules what commands will ask them, so that the interpreter's cache has the answers."""
    for name, module in tuple(sys.modules.items()):
        if not name.startswith(("pyruntime.", "launcher_entry")):
            continue
        for value in tuple(vars(module).values()):
            if (
                isinstance(value, type)
                and value.__module__ == name
                and not issubclass(value, BaseException | int)
            ):
                _ask_an_instance(value)
            elif isinstance(value, FunctionType) and value.__module__ == name:
                _ask_modules(value)


def _ask_an_instance(cls: type) -> None:
    functions = [value for value in vars(cls).values() if isinstance(value, FunctionType)]
    for function in functions:
        _ask_modules(function)
    names = {
        name
        for function in functions
        if function.__name__ == "__init__"
        for name in function.__code__.co_names
    }
    instance: object = object.__new__(cls)
    for name in sorted({*vars(cls), *getattr(cls, "__annotations__", ()), *names}):
        getattr(instance, name, None)


def _ask_modules(function: FunctionType) -> None:
    used = [function.__globals__.get(name) for name in function.__code__.co_names]
    for module in used:
        for name in function.__code__.co_names if isinstance(module, ModuleType) else ():
            if name in vars(module):
                getattr(module, name)


def warm_up() -> None:
    look_up_attributes()
    run_commands()
    for _ in range(ROUNDS):
        read_command_lines(tuple(VERBS))
        plan_a_container()
        keep_a_state()
