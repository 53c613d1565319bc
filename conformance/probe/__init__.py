"""The program that looks around inside containers, and how it is built: statically, so that a rootfs needs only it."""

import os
import shutil
import subprocess

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe.c")


def build_probe(output: str) -> None:
    """Compile the probe to the file `output`; by musl where it is installed, else by the system's compiler.

    Raises:
        RuntimeError: no compiler, or it refused; the message is the compiler's.
    """
    for compiler in ("musl-gcc", "cc"):
        if shutil.which(compiler) is None:
            continue
        command = [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-static", "-s", "-o", output, SOURCE]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode == 0:
            return
        raise RuntimeError(f"{compiler} cannot build {SOURCE}:\n{finished.stderr}")
    raise RuntimeError("no C compiler: install gcc, and musl-tools or a static libc")
