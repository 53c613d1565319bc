"""The config.json a bundle starts from, before the image's own wishes are put in.

Close to what `runc spec` writes, with a writable root, no terminal, and the capabilities that engines
give to containers by default, since images of the field count on them (chown, setuid, low ports).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci_image.layers.ownership import IdMap

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
    "CAP_SYS_CHROOT",
]  # fmt: skip
_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
]  # fmt: skip
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def default_runtime_config(*, user_namespace: bool, uid_map: IdMap, gid_map: IdMap) -> dict[str, Any]:
    """A fresh config; with `user_namespace` one that a container without root on the host can have."""
    linux: dict[str, Any] = {}
    if user_namespace:
        linux["uidMappings"] = [span.to_json() for span in uid_map.ranges]
        linux["gidMappings"] = [span.to_json() for span in gid_map.ranges]
        kinds = ["pid", "ipc", "uts", "mount", "user"]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
        kinds = ["pid", "network", "ipc", "uts", "mount"]
    linux["namespaces"] = [{"type": kind} for kind in kinds]
    linux["maskedPaths"] = list(_MASKED)
    linux["readonlyPaths"] = list(_READ_ONLY)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={DEFAULT_PATH}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "container",
        "mounts": _mounts(user_namespace=user_namespace, tty_group=not user_namespace or _maps(gid_map, 5)),
        "linux": linux,
    }


def _mounts(*, user_namespace: bool, tty_group: bool) -> list[dict[str, Any]]:
    mounts = [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"
        ),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    ]
    if tty_group:
        mounts[2]["options"].append("gid=5")
    # Without a network namespace of its own a user namespace may not mount a sysfs.
    if user_namespace:
        mounts.append(_mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro"))
    else:
        mounts.append(_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"))
        cgroup_options = ("nosuid", "noexec", "nodev", "relatime", "ro")
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", *cgroup_options))
    return mounts


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = list(options)
    return mount


def _maps(id_map: IdMap, container_id: int) -> bool:
    return any(span.container <= container_id < span.container + span.size for span in id_map.ranges)
