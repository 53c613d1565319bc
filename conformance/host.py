"""What a report says about the machine that it was made on."""

import os
import platform


def host_line() -> str:
    """Distribution, kernel, architecture and cgroup version, as the heading of a report has them."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = "Linux"
    kernel = platform.release().split("-")[0]
    return f"{name}, kernel {kernel}, {platform.machine()}, {cgroup_line()}"


def cgroup_line() -> str:
    if is_unified():
        return "cgroup v2"
    return "cgroup v1 (hybrid)" if os.path.isdir("/sys/fs/cgroup/unified") else "cgroup v1"


def is_unified() -> bool:
    """Whether cgroup v2 is all that is mounted at /sys/fs/cgroup."""
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")
