"""A root file system of Debian packages, taken from those that this machine has installed."""

import os
import re
import subprocess
import tarfile
from pathlib import Path

# What the steps of the tests call, with all that these need to run.
PROGRAMS = ("attr", "coreutils", "dash", "findutils", "libcap2-bin", "sed")
# What is in every Debian and interesting to unpack: set-id programs, many links, modes.
FILES = ("base-files", "base-passwd", "login", "mount", "passwd", "tzdata")
_LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/")
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")


def write_root(path: Path) -> None:
    """Write the packages' files, but for manuals and translations, as a plain tar archive."""
    packages = _with_dependencies(PROGRAMS) | {name for name in FILES if _depends(name) is not None}
    listed = _output("dpkg-query", "--listfiles", *sorted(packages)).splitlines()
    names = {_merged(name) for name in listed if name.startswith("/") and name != "/."}
    names = {name for name in names if not name.startswith(_LEFT_OUT)}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(names):
            if os.path.lexists(name):  # a user may have removed documents
                entry = archive.gettarinfo(name, name.lstrip("/"))
                with open(name, "rb") if entry.isreg() else open(os.devnull, "rb") as source:
                    archive.addfile(entry, source)
        for name in ("dev", "proc", "sys", *(name for name in _MERGED if os.path.islink(f"/{name}"))):
            if f"/{name}" not in names:
                archive.addfile(archive.gettarinfo(f"/{name}", name))


def _with_dependencies(packages: tuple[str, ...]) -> set[str]:
    """The packages and what they depend on, of each alternative what is installed."""
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        depends = _depends(name)
        if depends is not None:
            found.add(name)
            waiting += re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", depends)
    return found


def _depends(name: str) -> str | None:
    """What a package says that it depends on; None if it is not installed."""
    form = "${db:Status-Status} ${Pre-Depends},${Depends}"
    command = ["dpkg-query", "--show", f"--showformat={form}", name]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    status, _, depends = outcome.stdout.partition(" ")
    return depends if status == "installed" else None


def _merged(name: str) -> str:
    """The path without links on the way: /bin is /usr/bin in a Debian of today."""
    directory, last = os.path.split(name)
    return os.path.join(os.path.realpath(directory), last)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
