"""What a config needs of this host and does not find; asked by looking, nothing is made or changed."""

import os

from pyruntime.base.errors import HostError
from pyruntime.host.libseccomp import libseccomp_version
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.spec.config import Config, Hooks
from pyruntime.spec.linux import Linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMESPACE_FILES = {"network": "net", "mount": "mnt"}
# Filesystems that are never listed, or are no filesystem of the kernel's.
_UNLISTED = ("", "none", "bind", "rbind", "cgroup")


def host_faults(config: Config, bundle: str) -> "Iterator[HostError]":
    """What this host lacks for a config that is right in itself; `where` is the JSON pointer of what needs it."""
    yield from _root(config, bundle)
    yield from _namespaces(config.linux or Linux())
    yield from _mounts(config, bundle)
    yield from _hooks(config.hooks or Hooks())
    yield from _security(config)


def _root(config: Config, bundle: str) -> "Iterator[HostError]":
    if config.root is None:
        return
    path = os.path.join(bundle, config.root.path)
    if not os.path.isdir(path):
        hint = "unpack an image there, or correct root.path"
        yield HostError(f"the root filesystem {path} is missing", where="/root/path", hint=hint)


def _namespaces(linux: Linux) -> "Iterator[HostError]":
    for index, namespace in enumerate(linux.namespaces):
        where = f"/linux/namespaces/{index}"
        name = _NAMESPACE_FILES.get(namespace.type, namespace.type)
        if not os.path.exists(f"/proc/self/ns/{name}"):
            hint = "leave it out, or boot a kernel that has it"
            yield HostError(f"this kernel has no {namespace.type} namespaces", where=where, hint=hint)
        elif namespace.path and not os.path.exists(namespace.path):
            hint = "start what owns the namespace first"
            yield HostError(f"there is no namespace {namespace.path}", where=f"{where}/path", hint=hint)
        elif namespace.type == "user" and _first_line("/proc/sys/user/max_user_namespaces") == "0":
            hint = "sysctl user.max_user_namespaces=15000"
            yield HostError("user namespaces are switched off on this host", where=where, hint=hint)


def _mounts(config: Config, bundle: str) -> "Iterator[HostError]":
    known = {line.split("\t")[-1].strip() for line in _lines("/proc/filesystems")}
    for index, mount in enumerate(config.mounts):
        where = f"/mounts/{index}"
        if "bind" in mount.options or "rbind" in mount.options:
            if mount.source and not os.path.lexists(os.path.join(bundle, mount.source)):
                hint = "create it, or correct the source"
                yield HostError(f"bind source {mount.source} is missing", where=f"{where}/source", hint=hint)
        elif "remount" not in mount.options and mount.type not in _UNLISTED and mount.type not in known:
            hint = f"modprobe {mount.type}, if this kernel has it as a module"
            yield HostError(
                f"this kernel does not know the filesystem {mount.type} (now)",
                where=f"{where}/type",
                hint=hint,
            )


def _hooks(hooks: Hooks) -> "Iterator[HostError]":
    on_host = {
        "prestart": hooks.prestart,
        "createRuntime": hooks.create_runtime,
        "createContainer": hooks.create_container,
        "poststart": hooks.poststart,
        "poststop": hooks.poststop,
    }
    for name, entries in on_host.items():
        for index, hook in enumerate(entries):
            if not os.access(hook.path, os.X_OK) or os.path.isdir(hook.path):
                hint = "install the program, or correct the path"
                where = f"/hooks/{name}/{index}/path"
                yield HostError(f"{hook.path} cannot be executed on this host", where=where, hint=hint)


def _security(config: Config) -> "Iterator[HostError]":
    linux, process = config.linux or Linux(), config.process
    if linux.seccomp is not None:
        if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
            hint = "boot a kernel with CONFIG_SECCOMP_FILTER"
            yield HostError("this kernel has no seccomp filters", where="/linux/seccomp", hint=hint)
        elif not libseccomp_version():
            hint = "install it (package libseccomp2)"
            yield HostError("libseccomp is missing on this host", where="/linux/seccomp", hint=hint)
        path = linux.seccomp.listener_path
        if path and not os.path.exists(path):
            hint = "start the program that answers seccomp notifications first"
            where = "/linux/seccomp/listenerPath"
            yield HostError(f"nothing listens on {path}", where=where, hint=hint)
    profile = process.apparmor_profile if process is not None else ""
    if profile and profile != "unconfined":
        loaded = [line.rpartition(" (")[0] for line in _lines("/sys/kernel/security/apparmor/profiles")]
        if loaded and profile not in loaded:
            hint = "load it with apparmor_parser"
            where = "/process/apparmorProfile"
            yield HostError(f"the AppArmor profile {profile} is not loaded", where=where, hint=hint)


def host_report(layout: CgroupLayout) -> "Iterator[tuple[str, str, str]]":
    """(subject, what was found, remark) for everything that decides what containers can do here."""
    uname = os.uname()
    yield "kernel", f"{uname.release} {uname.machine}", ""
    yield "user", f"{os.geteuid()}:{os.getegid()}", "" if os.geteuid() == 0 else "rootless"
    yield from _report_cgroups(layout)
    yield from _report_namespaces()
    modules = _first_line("/sys/kernel/security/lsm")
    yield "security modules", modules or "unknown", "" if modules else "securityfs is not mounted"
    actions = _first_line("/proc/sys/kernel/seccomp/actions_avail")
    yield "seccomp actions", actions or "none", "" if actions else "filters will be refused"
    version = libseccomp_version()
    yield (
        "libseccomp",
        version or "missing",
        "" if version else "filters cannot be compiled: install libseccomp2",
    )
    yield from _report_programs()
    resctrl = any(line.split()[2:3] == ["resctrl"] for line in _lines("/proc/mounts"))
    yield (
        "resctrl",
        "mounted" if resctrl else "not mounted",
        "" if resctrl else "needed for intelRdt: mount -t resctrl resctrl /sys/fs/resctrl",
    )


def _report_cgroups(layout: CgroupLayout) -> "Iterator[tuple[str, str, str]]":
    remark = {
        "none": "mount a cgroup hierarchy on /sys/fs/cgroup, or use --cgroup-manager disabled",
        "v1": "deprecated by systemd and the kernel: prefer v2",
        "hybrid": "limits are set through the v1 hierarchies",
    }
    yield "cgroups", layout.mode, remark.get(layout.mode, "")
    for hierarchy in layout.hierarchies:
        own = hierarchy.mount_point + (hierarchy.own_path if hierarchy.mount_root == "/" else "")
        writable = os.access(own, os.W_OK)
        names = ",".join(hierarchy.controllers) or "no controllers"
        remark_text = "" if writable else "not delegated to this user: limits are refused"
        yield f"cgroup v{hierarchy.version} {hierarchy.mount_point}", names, remark_text


def _report_namespaces() -> "Iterator[tuple[str, str, str]]":
    found = [name for name in sorted(os.listdir("/proc/self/ns")) if not name.endswith("_for_children")]
    missing = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} - set(found)
    yield "namespaces", " ".join(found), f"missing: {' '.join(sorted(missing))}" if missing else ""
    largest = _first_line("/proc/sys/user/max_user_namespaces") or "0"
    closed = {
        "/proc/sys/kernel/unprivileged_userns_clone": "0",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    }
    reasons = [path for path, value in closed.items() if _first_line(path) == value]
    remark = f"closed to ordinary users by {', '.join(reasons)}" if reasons else ""
    yield "user namespaces", f"at most {largest}", "switched off" if largest == "0" else remark


def _report_programs() -> "Iterator[tuple[str, str, str]]":
    why = {
        "newuidmap": "needed by ordinary users for more than one id (package uidmap)",
        "newgidmap": "needed by ordinary users for more than one id (package uidmap)",
        "criu": "needed by checkpoint and restore",
    }
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"]
    for name, remark in why.items():
        path = next((f"{folder}/{name}" for folder in folders if os.access(f"{folder}/{name}", os.X_OK)), "")
        found = _criu_remark(path) if name == "criu" and path else ""
        yield name, path or "missing", found if path else remark


def _criu_remark(program: str) -> str:
    """Why CRIU does not work with this kernel, in its own last words; only root can ask."""
    if os.geteuid() != 0:
        return ""
    import subprocess

    try:
        done = subprocess.run([program, "check"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be run: {error}"
    lines = done.stderr.strip().splitlines()
    said = lines[-1].rpartition("): ")[2] if lines else f"exit status {done.returncode}"
    return f"does not work with this kernel: {said}" if done.returncode != 0 else ""


def _first_line(path: str) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
