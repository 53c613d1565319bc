"""Capabilities that a process cannot get are named, because that is a warning and no error."""

from pyruntime.plan.capabilities import CAPABILITY_NUMBERS, unavailable_capabilities
from pyruntime.spec.config import Capabilities, Config, Process
from pyruntime.spec.linux import Linux, Namespace
from pyruntime.verbs.interface import GlobalOptions
from pyruntime.verbs.launching import warn_of_capabilities

KILL = 1 << CAPABILITY_NUMBERS["CAP_KILL"]
ASKED = Capabilities(bounding=("CAP_KILL", "CAP_NEW"), ambient=("CAP_SYS_ADMIN",))


def warnings_for(process: Process | None, linux: Linux | None = None) -> list[str]:
    options, said = GlobalOptions(), list[str]()
    options.warn = said.append
    warn_of_capabilities(Config(oci_version="1.3.0", linux=linux), process, options)
    return said


def test_what_is_unknown_or_cannot_be_passed_on_is_named() -> None:
    assert unavailable_capabilities(ASKED, KILL) == ["CAP_NEW", "CAP_SYS_ADMIN"]
    assert unavailable_capabilities(ASKED, (1 << 64) - 1) == ["CAP_NEW"]
    assert unavailable_capabilities(None, 0) == []


def test_one_warning_names_them_all() -> None:
    process = Process(cwd="/", capabilities=ASKED)
    user = Linux(namespaces=(Namespace(type="user"),))
    assert warnings_for(process, user) == ["ignoring unknown or unavailable capabilities: [CAP_NEW]"]
    assert warnings_for(Process(cwd="/", capabilities=Capabilities(bounding=("CAP_KILL",))), user) == []
    assert warnings_for(None) == []
