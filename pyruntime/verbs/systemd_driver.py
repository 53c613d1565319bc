"""The systemd cgroup driver as verbs load it: it alone needs packages from outside the standard library."""

from pyruntime.base.errors import HostError


def load_systemd_driver() -> None:
    """Import what speaks to systemd, while the command can still run again in an interpreter that has it.

    Raises:
        HostError: a package for it is missing.
    """
    try:
        __import__("pyruntime.execute.systemd")
    except ModuleNotFoundError as missing:
        hint = "install it (pip install jeepney), or leave --systemd-cgroup out"
        raise HostError(f"the systemd cgroup driver needs the module {missing.name}", hint=hint) from None
