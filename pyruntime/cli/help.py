"""Help and version, from the tables that the parser uses."""

import sys

from pyruntime.cli.options import GLOBAL_OPTIONS, HELP
from pyruntime.host.libseccomp import libseccomp_version
from pyruntime.verbs import SUMMARIES, VERBS
from pyruntime.verbs.interface import Option
from pyruntime.version import COMMIT, SPEC_VERSION, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


_TIERS = {1: "saved heap (tier 1)", 2: "embedded interpreter (tier 2)"}


def version_text() -> str:
    """What --version prints; docker reads the first and the commit line."""
    lines = [f"pyruntime version {VERSION}"]
    if COMMIT:
        lines.append(f"commit: {COMMIT}")
    lines.append(f"spec: {SPEC_VERSION}")
    lines.append("python: " + ".".join(str(part) for part in sys.version_info[:3]))
    lines.append(f"start: {start_up()}")
    libseccomp = libseccomp_version()
    if libseccomp:
        lines.append(f"libseccomp: {libseccomp}")
    return "\n".join(lines) + "\n"


def start_up() -> str:
    """How this program starts, and if it could be faster, what its build lacked."""
    launcher = sys.modules.get("pyruntime_launcher")
    if launcher is not None:
        return f"{_TIERS[launcher.TIER]}{launcher.NOTE}"
    return "script (tier 3)" + str(getattr(sys.modules.get("__main__"), "NOTE", ""))


def program_help() -> str:
    """The help of the whole program."""
    width = max(map(len, VERBS))
    verbs = "".join(f"   {verb:<{width}}  {SUMMARIES[verb]}\n" for verb in VERBS)
    return (
        "NAME:\n   pyruntime - an OCI runtime that can say what it does\n\n"
        "USAGE:\n   pyruntime [global options] VERB [options] [arguments...]\n\n"
        f"VERBS:\n{verbs}\nGLOBAL OPTIONS:\n{_option_lines(GLOBAL_OPTIONS)}"
        "\n`pyruntime VERB --help` says more about a verb.\n"
    )


def verb_help(verb: str) -> str:
    """The help of one verb."""
    module = load(verb)
    return (
        f"NAME:\n   pyruntime {verb} - {SUMMARIES[verb]}\n\n"
        f"USAGE:\n   {f'pyruntime {verb} {module.USAGE}'.rstrip()}\n\n"
        f"OPTIONS:\n{_option_lines((*module.OPTIONS, HELP))}"
    )


def load(verb: str) -> "ModuleType":
    """The module of a verb."""
    name = VERBS[verb][0]
    __import__(name)
    return sys.modules[name]


def _option_lines(options: tuple[Option, ...]) -> str:
    rows = [(_names(option), option) for option in options if not option.hidden]
    width = max(len(names) for names, _ in rows)
    return "".join(
        f"   {names:<{width}}  {option.help}{' (may be repeated)' if option.repeat else ''}\n"
        for names, option in rows
    )


def _names(option: Option) -> str:
    value = f" {option.metavar}" if option.value else ""
    return ", ".join(("--" if len(name) > 1 else "-") + name + value for name in option.names)
