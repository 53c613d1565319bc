"""Building the program's launcher: tier 1 (saved heap) and tier 2 (embedded interpreter).

Called by setup.py.  Everything that a tier needs and this machine lacks ends in UnavailableError with the reason, and
the caller takes the next tier.
"""

import _imp
import ast
import contextlib
import errno
import marshal
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from build_steps import (
    UnavailableError,
    fixed_addresses,
    members_used_most,
    provided,
    run,
    self_test,
    symbol_addresses,
    symbol_at,
    symbol_sizes,
    writable_sections,
)
from executable import Program, check_processor, range_lists, whole_programs
from heap_layout import Layout, plan_layout

HERE = Path(__file__).resolve().parent
# What both sides of a plan share is there.
EXECUTOR = HERE.parent / "pyruntime" / "execute" / "executor"
SOURCES = (
    "launcher.c", "builtin_modules.c", "launcher_module.c", "json_scanner.c", "plan_encoder.c",
    "sha256.c", "signals.c", "small_modules.c", "spawn.c",
)  # fmt: skip
# Replacements of small_modules.c, for interpreters in which these are shared libraries.
REPLACED = ("fcntl", "select", "resource")
# Modules of the standard library, with all that they import, that a command may need besides the program's own.
STANDARD = ("encodings.ascii", "encodings.latin_1", "encodings.utf_8", "json", "traceback", "types", "re")
# Packages that are frozen as well, if the building interpreter has them, so that systemd's driver needs no second
# start; and the C modules that must be built in for that.
LIBRARIES = ("jeepney",)
LIBRARIES_NEED = frozenset({"_socket", "_struct", "array", "binascii", "math", "select"})
# What is imported first, and therefore lies together: the way of a container's life.
FIRST = (
    "pyruntime.cli.main",
    "pyruntime.verbs.run",
    "pyruntime.verbs.exec",
    "pyruntime.verbs.state",
    "pyruntime.verbs.kill",
)
# What only a full interpreter can load, and who may be left out of the saved heap because of it.
FULL_ONLY = ("_socket", "ctypes", "jeepney", "jsonschema", "pyroute2", "subprocess", "socket", "termios")
HEAP_SLACK = 1 << 20
FLAGS = (
    "-std=gnu11", "-O2", "-g0", "-fno-pie", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror",
    "-Wno-cast-function-type", "-Wno-missing-field-initializers",
)  # fmt: skip
REDIRECTED = ("malloc", "free", "calloc", "realloc", "mmap", "mmap64", "munmap")
# Two environments in which the saved heaps must be the same.  Of the same length, because the stack begins
# below the environment, and stale pointers into it are all over the heap.
SURROUNDINGS = (
    {"HOME": "/root", "LANG": "C.UTF-8", "PYTHONHASHSEED": "1", "TZ": "UTC+0"},
    {"HOME": "/none", "LANG": "de_DE.8", "PYTHONHASHSEED": "7", "TZ": "UTC-5"},
)
# As in written_pages.c.
STAGES = 6
# What a command says to whom tracing.c keeps the kernel from reading an object.
BAD_ADDRESS = os.strerror(errno.EFAULT)
# Of the rehearsal: make, or with "whole" remove, the containers that the stages want.
PREPARING = 6


@dataclass(frozen=True)
class Interpreter:
    """What is to be built with: the running interpreter's parts."""

    path: str  # for restarting in the full interpreter
    include: str
    static_library: Path
    shared_library: Path

    @classmethod
    def running(cls, path: str) -> "Interpreter":
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        folder = Path(sysconfig.get_config_var("LIBPL") or "")
        return cls(
            path=path,
            include=sysconfig.get_config_var("INCLUDEPY") or "",
            static_library=folder / f"libpython{version}.a",
            shared_library=Path(sysconfig.get_config_var("LIBDIR") or "") / f"libpython{version}.so.1.0",
        )


# The frozen modules


def program_modules(packages: Path) -> dict[str, Path]:
    """Every module of `pyruntime`: name to source file."""
    found = {}
    for path in sorted((packages / "pyruntime").rglob("*.py")):
        words = path.relative_to(packages).with_suffix("").parts
        if words[-1] != "__main__":
            found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def standard_modules() -> dict[str, Path]:
    """The modules of STANDARD and LIBRARIES and what they import, less what is frozen into every interpreter."""
    folders = library_folders()
    question = "import sys\n"
    question += f"sys.path += {[*folders.values()]!r}\n"
    question += f"for name in {(*STANDARD, *folders)!r}: __import__(name)\nprint(*sys.modules)"
    names = run(sys.executable, "-ISc", question).split()
    found = {}
    for name in sorted({*names, "encodings"}):
        words = name.split(".")
        path = Path(folders.get(words[0]) or sysconfig.get_path("stdlib"), *words)
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if source.is_file() and not _imp.is_frozen(name):
            found[name] = source
    return found


def library_folders() -> dict[str, str]:
    """The packages of LIBRARIES that can be frozen, and the folder that each is in."""
    if not LIBRARIES_NEED.issubset(sys.builtin_module_names):
        return {}
    found = {name: find_spec(name) for name in LIBRARIES}
    return {
        name: str(Path(spec.origin).parent.parent) for name, spec in found.items() if spec and spec.origin
    }


def without_docstrings(path: Path) -> ast.Module:
    """The syntax tree of a source file; documentation would only spread what is read over more pages."""
    tree = ast.parse(path.read_bytes(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                first.value.value = None
    return tree


def write_frozen(modules: dict[str, Path], executor: Path, work: Path) -> None:
    """Write frozen.c and frozen.S: the modules' code, and the executor, as data of the program.

    The files are named as if they lay in the current directory, so that the result does not depend on where it
    was built.
    """
    code = bytearray()
    entries = []
    for name, path in modules.items():
        package = path.name == "__init__.py"
        shown = name.replace(".", "/") + ("/__init__.py" if package else ".py")
        data = marshal.dumps(compile(without_docstrings(path), shown, "exec", dont_inherit=True))
        entries.append(f'    {{"{name}", launcher_code + {len(code)}, {len(data)}, {int(package)}}},')
        code += data + bytes(-len(data) % 16)
    work.joinpath("code.bin").write_bytes(code)
    shutil.copyfile(executor, work / "executor.bin")
    work.joinpath("frozen.c").write_text(
        '#include "launcher.h"\n'
        "extern const unsigned char launcher_code[];\n"
        "extern const struct _frozen launcher_frozen[];\n"
        "const struct _frozen launcher_frozen[] = {\n" + "\n".join(entries) + "\n    {0},\n};\n"
    )
    work.joinpath("frozen_data.S").write_text(
        '.section .rodata\n.balign 16\n.globl launcher_code\nlauncher_code: .incbin "code.bin"\n'
        ".balign 16\n.globl launcher_executor, launcher_executor_end\n"
        'launcher_executor: .incbin "executor.bin"\nlauncher_executor_end: .byte 0\n'
        '.section .note.GNU-stack,"",%progbits\n'
    )


def build_program(program: Path, script: str, interpreter_path: str, packages: Path, executor: Path) -> str:
    """Make the program of the highest tier that works here; PYRUNTIME_START_TIER=1, 2 or 3 forces one.

    `script` is the text of tier 3, with the line NOTE = "" in it.  Returns a line for the build's log.

    Raises:
        UnavailableError: the tier that was asked for cannot be built.
    """
    forced = os.environ.get("PYRUNTIME_START_TIER", "")
    if forced not in ("", "1", "2", "3"):
        raise UnavailableError(f"PYRUNTIME_START_TIER is {forced!r}: it may be 1, 2 or 3")
    interpreter = Interpreter.running(interpreter_path)
    note = ""
    if forced in ("", "1"):
        try:
            saved_heap(interpreter, packages, executor, program)
            self_test(program)
            return f"{program.name}: tier 1 (saved heap)"
        except UnavailableError as reason:
            if forced:
                raise
            note = f"; not tier 1: {reason}"
    if forced in ("", "2"):
        try:
            embedded(interpreter, packages, executor, program, note)
            self_test(program)
            return f"{program.name}: tier 2 (embedded interpreter){note}"
        except UnavailableError as reason:
            if forced:
                raise
            note += f"; not tier 2: {reason}"
    program.write_text(script.replace('NOTE = ""', f"NOTE = {note!r}"))
    program.chmod(0o755)
    return f"{program.name}: tier 3 (script){note}"


# Both tiers


class Build:
    """One launcher on its way, in a directory of its own."""

    note = ""

    def __init__(self, interpreter: Interpreter, packages: Path, executor: Path, work: Path) -> None:
        self.interpreter = interpreter
        self.work = work
        self.compiler = os.environ.get("CC", "cc")
        names = work / "launcher_names.py"
        modules = {**program_modules(packages), **standard_modules()}
        names.write_text(f"NAMES = {(*FIRST, *modules)!r}\nABSENT = {FULL_ONLY!r}\n")
        modules |= {
            "launcher_names": names,
            "launcher_entry": HERE / "launcher" / "entry.py",
            "launcher_warm_up": HERE / "saved_heap" / "warm_up.py",
            "launcher_rehearsal": HERE / "saved_heap" / "rehearsal.py",
        }
        write_frozen(modules, executor, work)

    def compile(self, tier: int, replaced: tuple[str, ...], *flags: str) -> list[Path]:
        """Compile the launcher's sources; returns the object files."""
        modules = " ".join(f"MODULE({name})" for name in replaced)
        defines = (
            f"-DLAUNCHER_TIER={tier}",
            f"-DLAUNCHER_MODULES={modules}",
            f'-DLAUNCHER_INTERPRETER="{self.interpreter.path}"',
            f'-DLAUNCHER_NOTE="{self.note}"',
        )
        objects = []
        for source in (*(HERE / "launcher" / name for name in SOURCES), self.work / "frozen.c"):
            target = self.work / f"{source.stem}.o"
            run(
                self.compiler, *FLAGS, *flags, *defines, "-isystem", self.interpreter.include,
                "-I", HERE / "launcher", "-I", EXECUTOR, "-c", source, "-o", target,
            )  # fmt: skip
            objects.append(target)
        run(self.compiler, "-c", "frozen_data.S", "-o", "frozen_data.o", where=self.work)
        return [*objects, self.work / "frozen_data.o"]


def libraries(name: str) -> list[str]:
    """Linker arguments of a configuration variable, less search paths and what the interpreter itself is."""
    words = (sysconfig.get_config_var(name) or "").split()
    return [word for word in words if word.startswith("-l") and not word.startswith("-lpython")]


# Tier 1


def saved_heap(interpreter: Interpreter, packages: Path, executor: Path, target: Path) -> None:
    """Build tier 1 into `target`.

    Raises:
        UnavailableError: something that it needs is missing, or what was built does not behave.
    """
    if not interpreter.static_library.is_file():
        raise UnavailableError(f"{interpreter.static_library} is missing (Debian: libpython3-dev)")
    with tempfile.TemporaryDirectory(prefix="pyruntime-launcher-") as folder:
        build = SavedHeap(interpreter, packages, executor, Path(folder))
        build.link_interpreter()
        used = build.link(24 << 20).save(Path(folder) / "first")
        # From now on with just the room that it takes; the last time with what is used side by side.
        size = (used + HEAP_SLACK + 0xFFFF) & ~0xFFFF
        for how in ("trace", "trace-reads"):
            build.link(size).save(Path(folder) / how)
            build.place(Path(folder) / how, how)
        build.link(size).save(Path(folder) / "saved")
        build.check_that_nothing_was_read(Path(folder) / "saved")
        build.finish(Path(folder) / "saved", target)


class SavedHeap(Build):
    """The steps of tier 1; ../saved_heap/README.md explains them."""

    def __init__(self, interpreter: Interpreter, packages: Path, executor: Path, work: Path) -> None:
        super().__init__(interpreter, packages, executor, work)
        self.sections: list[str] = []
        self.seed = random.SystemRandom().randrange(1, 1 << 32)
        self._names: dict[str, str] = {}
        self._layout = Layout()

    def link_interpreter(self) -> None:
        """One object of launcher and interpreter: its writable sections renamed, its memory redirected."""
        library = self.interpreter.static_library
        replaced = tuple(name for name in REPLACED if name not in provided(library))
        # Compiled twice: which sections there are to save is known only when all is in one object.
        self._join(self.compile(1, replaced))
        names = writable_sections(self.work / "joined.o")
        self._names = {name: "saved" + "".join(filter(str.isalnum, name)).lower() for name in names}
        self.sections = [*self._names.values(), "savedplaced", "savedheap", "savedstate"]
        sections = " ".join(f"SECTION({name})" for name in self.sections)
        self._join(self.compile(1, replaced, "-DSAVED_HEAP", f"-DSECTIONS={sections}"))
        attributes = "alloc,load,contents,data"
        renames = [f"--rename-section={old}={new},{attributes}" for old, new in self._names.items()]
        symbols = [f"--redefine-sym={name}=heap_{name}" for name in REDIRECTED]
        flags = [f"--set-section-flags=.bss={attributes}"]
        # The one constructor in an interpreter is that of an allocator which only builds without the lock use
        # (Python 3.13); it would run again at each start, on what was saved of its first time.
        flags += [f"--remove-section={name}" for name in (".init_array", ".fini_array", ".rela.init_array")]
        run("objcopy", *flags, *renames, *symbols, self.work / "joined.o", self.work / "program.o")

    def _join(self, objects: list[Path]) -> None:
        library = self.interpreter.static_library
        first = members_used_most(library, self.work / "members")
        run(
            "ld", "-r", "-d", "-o", self.work / "joined.o", *objects, *first,
            "--start-group", library, "--end-group",
        )  # fmt: skip

    def link(self, heap_size: int) -> "SavedHeap":
        """The static executable, with a heap of this many bytes."""
        objects = []
        defines = [f"-DHEAP_SIZE={heap_size}UL"]
        if self._layout.written:
            sizes = self._layout.sizes()
            defines += [f"-DPLACES={','.join(map(str, sizes))}", f"-DPLACED={sum(sizes)}"]
        for name in ("allocator", "placement", "tracing", "whole_program", "written_pages"):
            objects.append(self.work / f"{name}.o")
            run(
                self.compiler, *FLAGS, *defines, "-isystem", self.interpreter.include,
                "-I", HERE / "launcher", "-c", HERE / "saved_heap" / f"{name}.c", "-o", objects[-1],
            )  # fmt: skip
        entry = ("-Wl,-e,launcher_start",) if whole_programs() else ()
        run(
            self.compiler, "-static", "-no-pie", "-Wl,-z,norelro", *entry, "-o", self.work / "launcher",
            self.work / "program.o", *objects,
            *libraries("MODLIBS"), *libraries("LIBS"), *libraries("SYSLIBS"), "-lm", "-lpthread",
        )  # fmt: skip
        return self

    def save(self, into: Path, environment: dict[str, str] = SURROUNDINGS[0]) -> int:
        """Run it to save its heap; returns how many bytes of the heap are used."""
        into.mkdir()
        layout = self.work / "layout"
        arguments = [str(into), str(self.seed)]
        if self._layout.written:
            layout.write_bytes(self._layout.encode())
            arguments.append(str(layout))
        with fixed_addresses():
            result = subprocess.run(
                [self.work / "launcher", *arguments],
                env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            )  # fmt: skip
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["no output"]
            raise UnavailableError(f"saving the heap fails with {result.returncode}: {lines[-1]}")
        return int(result.stdout)

    def check_that_nothing_was_read(self, saved: Path) -> None:
        """Save once more from other surroundings: every byte must be the same."""
        other = self.work / "other"
        with tempfile.TemporaryFile(dir=self.work) as _another_descriptor:
            self.save(other, SURROUNDINGS[1])
        symbols = symbol_addresses(self.work / "launcher")
        differing = set()
        for name in self.sections:
            start = next(address for address, symbol in symbols if symbol == f"__start_{name}")
            ours, theirs = (saved / name).read_bytes(), (other / name).read_bytes()
            for offset in range(0, len(ours), 8) if ours != theirs else ():
                if ours[offset : offset + 8] != theirs[offset : offset + 8]:
                    differing.add(symbol_at(symbols, start + offset))
        if differing:
            raise UnavailableError(
                f"the saved heap depends on its surroundings: {', '.join(sorted(differing))}"
            )

    def place(self, saved: Path, how: str) -> None:
        """Find what is used, for the next heap to have it side by side; without it all works, in more memory."""
        rehearsing = self._with_sections(saved)
        try:
            with self._containers(rehearsing):
                traces = [self._rehearse(rehearsing, stage, how) for stage in range(STAGES)]
        except UnavailableError as reason:
            sys.stderr.write(f"objects of the saved heap are not placed: {reason}\n")
            return
        if any(traces):
            self._layout = plan_layout((saved / "owners").read_bytes(), traces, self._layout)

    def _with_sections(self, saved: Path) -> Path:
        """The executable with the saved sections in it."""
        updates = [f"--update-section={name}={saved / name}" for name in self.sections]
        rehearsing = self.work / "rehearsing"
        run("objcopy", *updates, self.work / "launcher", rehearsing)
        config = self.work / "config.json"
        if not config.exists():
            run(rehearsing, "spec", "--bundle", self.work)
            config.write_text(config.read_text().replace('"terminal": true', '"terminal": false'))
        return rehearsing

    @contextlib.contextmanager
    def _containers(self, rehearsing: Path) -> Iterator[None]:
        """What a rehearsal starts, executes in and kills; its waiting processes are gone afterwards."""
        self._rehearse(rehearsing, PREPARING)
        try:
            yield
        finally:
            self._rehearse(rehearsing, PREPARING, "whole")

    def _rehearse(self, rehearsing: Path, stage: int, *how: str) -> str:
        output = run(rehearsing, str(stage), *how, where=self.work)
        said = self.work.joinpath("said").read_text(errors="replace")
        if BAD_ADDRESS in said:
            raise UnavailableError(f"the rehearsal of stage {stage} hides something from the kernel")
        if os.environ.get("PYRUNTIME_START_VERBOSE"):
            sys.stderr.write(f"rehearsal {stage} {' '.join(how)}\n{said}")
        return output

    def finish(self, saved: Path, target: Path) -> None:
        """Put the saved sections into the executable, and the list of pages that are written to."""
        rehearsing = self._with_sections(saved)
        try:
            whole = self._whole_program(rehearsing)
        except UnavailableError as reason:
            sys.stderr.write(f"the C library starts with each command: {reason}\n")
            whole = rehearsing
        with self._containers(whole):
            lists = [self._rehearse(whole, stage) for stage in range(STAGES)]
        symbols = symbol_addresses(self.work / "launcher")
        address = next(address for address, symbol in symbols if symbol == "launcher_ranges")
        program = Program(whole)
        program.write(address, range_lists([[*map(int, text.split())] for text in lists]))
        program.save(target)

    def _whole_program(self, rehearsing: Path) -> Path:
        """The executable with all of its variables as they are at the beginning of main().

        Raises:
            UnavailableError: not with this processor or C library.
        """
        if not whole_programs():
            raise UnavailableError("only for x86-64")
        variables, whole = self.work / "variables", self.work / "whole"
        features = symbol_sizes(self.work / "launcher").get("_dl_x86_cpu_features", 0)
        with fixed_addresses():
            # Restartable sequences would have to be registered by each process.
            run(
                rehearsing, "save", variables, str(features),
                where=self.work, environment={"GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
            )  # fmt: skip
        program = Program(rehearsing)
        program.replace_variables(variables.read_bytes())
        check_processor(program, symbol_addresses(self.work / "launcher"))
        program.save(whole)
        self._rehearse(whole, PREPARING, "whole")
        return whole


# Tier 2


def embedded(interpreter: Interpreter, packages: Path, executor: Path, target: Path, note: str) -> None:
    """Build tier 2 into `target`, with the shared libpython if there is one; `note` says why not tier 1.

    Raises:
        UnavailableError: there is no libpython at all, or no compiler.
    """
    shared = interpreter.shared_library.is_file()
    if not shared and not interpreter.static_library.is_file():
        raise UnavailableError("there is no libpython to embed (Debian: libpython3-dev)")
    with tempfile.TemporaryDirectory(prefix="pyruntime-launcher-") as folder:
        build = Build(interpreter, packages, executor, Path(folder))
        build.note = note.replace("\\", "").replace('"', "")
        loaded = set(sys.builtin_module_names)
        objects = build.compile(2, tuple(name for name in REPLACED if name not in loaded))
        library = interpreter.shared_library if shared else interpreter.static_library
        options = [f"-Wl,-rpath,{library.parent}"] if shared else ["-Wl,--export-dynamic"]
        run(
            build.compiler, "-no-pie", *options, "-o", target, *objects, library,
            *libraries("MODLIBS"), *libraries("LIBS"), *libraries("SYSLIBS"), "-lm", "-lpthread", "-ldl",
        )  # fmt: skip
        target.chmod(0o755)
