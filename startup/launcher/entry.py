"""The first Python code of tiers 1 and 2; frozen into the launcher as `launcher_entry`.

`prepare` runs at build time and only in tier 1: it imports all that is frozen, so that it is in the saved heap.
`start` is what every command runs.  The interpreter has only its core: no standard streams, no search path, and no
`open` until this module has provided them.
"""

import errno
import os
import sys

import launcher_names
import pyruntime_launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

_SIGINT = 2
# Which pages a command writes to besides those that each does; a container of such a name costs a few microseconds.
_CREATING, _EXECUTING, _STARTING, _KILLING, _DELETING = 1, 2, 3, 4, 5
STAGES = {
    "create": _CREATING,
    "run": _CREATING,
    "restore": _CREATING,
    "explain": _CREATING,
    "exec": _EXECUTING,
    "start": _STARTING,
    "kill": _KILLING,
    "delete": _DELETING,
}


class Stream:
    """Standard output or error: text that is written when it is flushed."""

    encoding = "utf-8"

    def __init__(self, descriptor: int, errors: str) -> None:
        self.errors = errors
        self._descriptor = descriptor
        self._pending = ""

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        self._pending += text
        return len(text)

    def flush(self) -> None:
        if not self._pending:
            return
        data, self._pending = self._pending.encode("utf-8", self.errors), ""
        while data:
            data = data[os.write(self._descriptor, data) :]


class FullInterpreter:
    """The last finder: what is neither built in nor frozen is to be had in a full interpreter only."""

    restarts = True

    @classmethod
    def find_spec(cls, name: str, _path: object = None, _target: object = None) -> None:
        # With an underscore: usually an accelerator that the standard library asks for and can do without.
        if not cls.restarts or (name.startswith("_") and name not in launcher_names.ABSENT):
            return
        restart = sys.modules.get("pyruntime.base.restart")
        if restart is not None and restart.side_effects:
            return
        restart_with(name)


def restart_with(name: str) -> None:
    """Run this command again, from its beginning, in the interpreter that the program was built with."""
    program = os.path.realpath("/proc/self/exe")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    prefix = os.path.dirname(os.path.dirname(program))
    for packages in (f"{prefix}/lib/{version}/site-packages", f"{prefix}/lib/python3/dist-packages"):
        main = f"{packages}/pyruntime/__main__.py"
        if os.path.isfile(main):
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for take_back in tuple(getattr(sys.modules.get("pyruntime.base.restart"), "beforehand", ())):
                take_back()
            interpreter = pyruntime_launcher.INTERPRETER
            try:
                os.execv(interpreter, [interpreter, "-IS", main, *sys.argv[1:]])
            except OSError as error:
                reason = errno.errorcode.get(error.errno or 0, "")
                raise ImportError(f"{name} needs {interpreter}, which cannot be run ({reason})") from None
    raise ImportError(
        f"{name} is loaded from the installed package, which is not beside {program}; "
        f"run the program from the bin directory that it was installed into",
        name=name,
    )


def find_frozen() -> None:
    """Leave only what is built in or frozen to be found."""
    sys.meta_path[2:] = [FullInterpreter]
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def prepare() -> None:
    """Import all that is frozen, less what needs a module that only a full interpreter can load."""
    find_frozen()
    FullInterpreter.restarts = False
    for name in launcher_names.NAMES:
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            if error.name not in launcher_names.ABSENT:
                raise
            sys.modules.pop(name, None)
    # Some function imports it, and an import is more work than everything else that is done there.
    __import__("resource")
    # What the imports have left there would be pushed out object by object, each written to for its last time.
    sys._clear_type_cache()  # noqa: SLF001  # it has no other name
    __import__("launcher_warm_up").warm_up()
    __import__("launcher_rehearsal")
    FullInterpreter.restarts = True
    session = sys.modules["pyruntime.execute.session"]
    session.__dict__["EXECUTOR_IMAGE"] = pyruntime_launcher.executor()
    import gc

    # The streams of the build belong to the build.
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
    give_streams()
    # The interpreter asks once whether the kernel knows O_CLOEXEC.
    os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    gc.collect()
    gc.freeze()


def give_streams() -> None:
    """Standard output and error, which say nothing until they are flushed."""
    sys.stdin = None
    sys.stdout, sys.stderr = Stream(1, "strict"), Stream(2, "backslashreplace")


def begin(words: "list[str]") -> None:
    """Give the program what an interpreter has when it starts."""
    sys.argv = words
    if type(sys.stdout) is not Stream:
        give_streams()
    if pyruntime_launcher.signal_is_default(_SIGINT):
        _signal.signal(_SIGINT, _signal.default_int_handler)
    if FullInterpreter not in sys.meta_path:
        find_frozen()


def start(words: "list[str]") -> int:
    """Run the program; returns its exit code."""
    begin(words)
    for word in words:
        if word in STAGES:
            pyruntime_launcher.populate(STAGES[word])
            break
    from pyruntime.cli.main import main

    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    return code
