# The body of the installed programs.  The build writes one file for each of them: a first line that names the
# interpreter with -IS, the three constants below, and the rest as it stands.
import gc
import os
import sys

MODULE = "pyruntime.cli.main"
NEEDS = ("pyruntime",)
NOTE = ""


def find_packages() -> None:
    """Let imports find the packages installed beside this program, without the 3 ms that `site` takes.

    Only the directory that belongs to this program is added, behind the standard library.  Other layouts
    (a distribution's dist-packages, an editable installation) are left to `site`.
    """
    here = os.path.dirname(os.path.realpath(__file__))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = os.path.normpath(f"{here}/../lib/{version}/site-packages")
    if all(os.path.isdir(f"{packages}/{name}") for name in NEEDS):
        sys.path.append(packages)
        return
    import site

    if os.path.isdir(packages):
        site.addsitedir(packages)
    site.main()


def run() -> int:
    """Import the program and run it; returns its exit code."""
    find_packages()
    __import__(MODULE)
    code: int = sys.modules[MODULE].main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 1
    return code


if __name__ == "__main__":
    # A process of a few milliseconds has nothing to collect, and nothing to tear down at its end.
    gc.disable()
    os._exit(run())
