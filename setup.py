"""The parts of the build that setup.cfg cannot say: the executor, the probe, the schemas, and the two programs.

Variables that the build obeys:
    PYRUNTIME_PYTHON   the interpreter that the installed programs start with
    PYRUNTIME_CC       the compiler of the executor (default: musl-gcc, else cc)
    PYRUNTIME_START_TIER   1, 2 or 3: how `pyruntime` starts (default: the fastest that can be built)
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup  # first: it provides distutils from Python 3.12 on
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # isort: skip

# A build backend does not look for modules where setup.py lies.
sys.path.insert(0, str(Path(__file__).resolve().parent / "startup"))
sys.path.insert(1, str(Path(__file__).resolve().parent))
from launcher_build import build_program
from source_commit import commit_of, note_commit

from conformance.probe import build_probe

EXECUTOR = "pyruntime/execute/executor"
PROBE = "conformance/probe/probe"
SCHEMAS = "specs"
TEMPLATE = "startup/script.py"
# program -> (module with main(), directories that must be beside each other in site-packages)
PROGRAMS = {
    "pyruntime": ("pyruntime.cli.main", ("pyruntime",)),
    "oci-image": ("oci_image.cli.main", ("oci_image", "zstandard", "pyruntime")),
}


def interpreter() -> str:
    """The interpreter for the first line of the programs.

    The one behind a virtual environment, because a build tool's own environment is gone after the build, a
    first line may have at most 255 bytes and no blank, and the programs find their packages by themselves.
    """
    named = os.environ.get("PYRUNTIME_PYTHON", "")
    # `_base_executable` is what the venv module itself uses; there is no public name.
    path = named or getattr(sys, "_base_executable", "") or sys.executable
    versioned = f"{os.path.dirname(path)}/python{sys.version_info[0]}.{sys.version_info[1]}"
    return versioned if not named and os.access(versioned, os.X_OK) else path


def program_text(template: str, program: str) -> str:
    """The text of one program: the template with its first line and its two constants."""
    module, needs = PROGRAMS[program]
    lines = template.splitlines()
    lines[lines.index('MODULE = "pyruntime.cli.main"')] = f"MODULE = {module!r}"
    lines[lines.index('NEEDS = ("pyruntime",)')] = f"NEEDS = {needs!r}"
    return "\n".join([f"#!{interpreter()} -IS", *lines, ""])


class BuildPackages(build_py):
    """Compile the executor into the package, and put the schemas where `pyruntime` finds them."""

    def run(self) -> None:
        super().run()
        target = "." if self.editable_mode else self.build_lib
        command = ["sh", f"{EXECUTOR}/build.sh", f"{target}/{EXECUTOR}/executor"]
        if compiler := os.environ.get("PYRUNTIME_CC"):
            command.append(compiler)
        os.makedirs(f"{target}/{EXECUTOR}", exist_ok=True)
        subprocess.run(command, check=True)
        build_probe(f"{target}/{PROBE}")
        if not self.editable_mode:
            name, commit = "pyruntime/version.py", commit_of(Path(__file__).resolve().parent)
            note_commit(Path(name), Path(target) / name, commit)
        if os.path.isdir(SCHEMAS):
            shutil.copytree(SCHEMAS, f"{target}/pyruntime/{SCHEMAS}", dirs_exist_ok=True)


class BuildPrograms(build_scripts):
    """Write the programs.  Their first line has arguments, which installers would cut off a `#!python`."""

    def run(self) -> None:
        self.mkpath(self.build_dir)
        with open(TEMPLATE, encoding="utf-8") as file:
            template = file.read()
        for program in PROGRAMS:
            path = f"{self.build_dir}/{program}"
            text = program_text(template, program)
            if program == "pyruntime":
                self.announce(self.build_fast(path, text), level=2)
                continue
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o755)

    def build_fast(self, path: str, script: str) -> str:
        """The runtime starts in the fastest way that can be built here (ARCHITECTURE.md, Starting)."""
        build_py = self.get_finalized_command("build_py")
        self.run_command("build_py")
        packages = Path("." if getattr(build_py, "editable_mode", False) else str(build_py.build_lib))
        executor = packages / EXECUTOR / "executor"
        said: str = build_program(Path(path), script, interpreter(), packages, executor)
        return said


class NativeDistribution(Distribution):
    """A distribution with a compiled program in it, though without an extension module."""

    def has_ext_modules(self) -> bool:
        return True


class Wheel(bdist_wheel):
    """The executor depends on the machine; nothing depends on the interpreter's binary interface."""

    def get_tag(self) -> tuple[str, str, str]:
        _python, _abi, platform = super().get_tag()
        return (f"py3{sys.version_info[1]}", "none", platform)


if __name__ == "__main__":
    setup(
        distclass=NativeDistribution,
        scripts=[TEMPLATE],
        cmdclass={"build_py": BuildPackages, "build_scripts": BuildPrograms, "bdist_wheel": Wheel},
    )
