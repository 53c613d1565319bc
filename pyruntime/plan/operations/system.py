"""Operations inside the container's root: the console, names, and what of the kernel is shown."""

from pyruntime.plan.operations.operation import Operation, propagation_name


class SetRootPropagation(Operation):
    code = 41
    flags: int

    def describe(self) -> str:
        return f"make the root filesystem {propagation_name(self.flags)}"


class ReopenNullStdio(Operation):
    """Reopen those of descriptors 0 to 2 that are the host's /dev/null from the container's own."""

    code = 42

    def describe(self) -> str:
        return "reopen standard streams that are /dev/null"


class OpenConsole(Operation):
    """Make a pty in the container's devpts, send its master over `socket_fd`, use the slave as standard streams.

    `rows` and `columns` 0 leave the size alone; `bind` also binds the slave on /dev/console; `uid` owns it.
    """

    code = 43
    socket_fd: int
    rows: int
    columns: int
    uid: int
    bind: int

    def describe(self) -> str:
        return "open the console"


class RemountRootReadonly(Operation):
    code = 44

    def describe(self) -> str:
        return "make the root filesystem read-only"


class SetHostname(Operation):
    code = 45
    name: str

    def describe(self) -> str:
        return f"set the hostname to {self.name}"


class SetDomainname(Operation):
    code = 46
    name: str

    def describe(self) -> str:
        return f"set the domain name to {self.name}"


class SetSysctl(Operation):
    """Write `value` to /proc/sys/`key` (with slashes) through a private procfs (CVE-2025-52881)."""

    code = 47
    key: str
    value: str

    def describe(self) -> str:
        return f"set the sysctl {self.key.replace('/', '.')} to {self.value!r}"


class ReadonlyPath(Operation):
    """Bind `path` on itself and make it read-only; nothing if it does not exist."""

    code = 48
    path: str

    def describe(self) -> str:
        return f"make {self.path} read-only"


class MaskPath(Operation):
    """Hide `path`: a directory under an empty read-only tmpfs, anything else under a verified /dev/null."""

    code = 49
    path: str

    def describe(self) -> str:
        return f"mask {self.path}"


class SetSecurityAttribute(Operation):
    """Write `value` to /proc/self/attr/`attribute` through a private procfs (AppArmor, SELinux)."""

    code = 50
    attribute: str
    value: str

    def describe(self) -> str:
        return f"set the security attribute {self.attribute} to {self.value}"
