"""The program that looks around inside containers; built with the package, statically: a rootfs needs nothing else."""

import os
import shutil
import subprocess

from conformance.runtime import UnusableError

PLACE = os.path.dirname(os.path.abspath(__file__))
SOURCE, BUILT = f"{PLACE}/probe.c", f"{PLACE}/probe"


def find_probe(directory: str) -> str:
    """The probe that was built with the package, else one that is compiled into `directory`.

    Raises:
        UnusableError: it has to be compiled, and cannot be.
    """
    if os.access(BUILT, os.X_OK) and os.path.getmtime(BUILT) >= os.path.getmtime(SOURCE):
        return BUILT
    build_probe(f"{directory}/probe")
    return f"{directory}/probe"


def build_probe(output: str) -> None:
    """Compile the probe to the file `output`; by musl where it is installed, else by the system's compiler.

    Raises:
        UnusableError: no compiler, or it refused; the message is the compiler's.
    """
    for compiler in ("musl-gcc", "cc"):
        if shutil.which(compiler) is None:
            continue
        command = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-static", "-s", "-o", output, SOURCE]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode == 0:
            return
        raise UnusableError(f"{compiler} cannot build {SOURCE}:\n{finished.stderr}")
    raise UnusableError("no C compiler: install gcc, and musl-tools or a static libc")
