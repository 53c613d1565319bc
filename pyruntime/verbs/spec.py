"""pyruntime spec: write a config.json to begin with."""

import os

from pyruntime.base.errors import HostError, StateError, errno_text
from pyruntime.base.jsonio import dumps
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option

USAGE = "[--bundle DIR] [--rootless]"
OPTIONS: tuple[Option, ...] = (
    Option(
        names=("bundle", "b"), value=True, metavar="DIR", help="the bundle (default: the current directory)"
    ),
    Option(names=("rootless",), help="for a container that its user starts without root"),
    Option(names=("config", "f"), value=True, metavar="FILE", help="write this file instead of config.json"),
)


def write_default_config(path: str, *, rootless: bool) -> None:
    """Write the default configuration to a new file, with tabs as runc does.

    Raises:
        StateError: the file exists already.
        HostError: it cannot be written.
    """
    from pyruntime.spec.default import default_config

    document = default_config(rootless=rootless, uid=os.geteuid(), gid=os.getegid())
    lines = dumps(document, indent=1).splitlines()
    text = "".join("\t" * (len(line) - len(line.lstrip(" "))) + line.lstrip(" ") + "\n" for line in lines)
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        what = f"File {os.path.basename(path)} exists. Remove it first"
        raise StateError(what, where=path) from None
    except OSError as error:
        raise HostError(
            f"cannot write the configuration: {errno_text(error.errno or 0)}", where=path
        ) from None


def run(arguments: Arguments, _options: GlobalOptions) -> int:
    name = arguments.get("config", "config.json")
    write_default_config(
        os.path.join(arguments.get("bundle", "."), name), rootless=arguments.flag("rootless")
    )
    return 0
