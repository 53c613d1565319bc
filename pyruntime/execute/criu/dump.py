"""Saving a container: what CRIU is asked for, and what stands beside its images."""

import errno
import os
import stat

from pyruntime.base.errors import HostError, UsageError, errno_text
from pyruntime.base.jsonio import dumps
from pyruntime.execute.criu.messages import DUMP, FEATURE_CHECK, PRE_DUMP
from pyruntime.execute.criu.paths import path_in_root
from pyruntime.execute.criu.service import Service, find_criu, inner, number, socket_for_criu, spawn_criu
from pyruntime.plan.criu import CriuOptions, Saved, external_mounts, masked_paths
from pyruntime.plan.operations import Operation
from pyruntime.plan.view import NAMESPACE_FLAGS
from pyruntime.spec.annotations import CRIU_CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.execute.criu.messages import Message

DESCRIPTORS = "descriptors.json"
LOG_LEVEL = 4
DEFAULT_MODE = 6  # CRIU's soft, unless its own configuration says otherwise
KEYS = {NAMESPACE_FLAGS["network"]: ("net", "extRootNetNS"), NAMESPACE_FLAGS["pid"]: ("pid", "extRootPidNS")}
_LOG = "dump.log"
# Of which version on CRIU says by a notification that lazy pages can be asked for.
_STATUS_NOTIFICATION = 31500


def dump(
    container: Saved,
    operations: tuple[Operation, ...],
    joined: dict[int, tuple[str, str]],
    options: CriuOptions,
) -> None:
    """Save the container's processes below `options.image_path`; `operations` are those that made it.

    `joined`: the namespaces that it got by path, as in `ContainerView`.

    Raises:
        HostError: CRIU is missing, too old, or fails; then the container is as it was.
        SpecError: the container has something that cannot be restored.
    """
    make_directories(options)
    kind = PRE_DUMP if options.pre_dump else DUMP
    images = open_directory(options.image_path)
    work = open_directory(options.work_path or options.image_path)
    ours, theirs = socket_for_criu()
    log = f"{options.work_path or options.image_path}/{_LOG}"
    service = Service(ours, spawn_criu(find_criu(), theirs), log)
    try:
        version = service.version()
        _require_features(service, options)
        request = _request(container, operations, joined, options)
        request |= {"images_dir_fd": images, "work_dir_fd": work}
        if options.lazy_pages and options.status_fd >= 0:
            _require_writable(options.status_fd)
        if kind == DUMP:
            _save_descriptors(container.pid, options.image_path)

        def notified(script: str, _pid: int, _descriptor: int) -> None:
            if script == "status-ready" and options.status_fd >= 0:
                _tell_ready(options.status_fd)

        if options.lazy_pages and options.status_fd >= 0 and version < _STATUS_NOTIFICATION:
            hint = "install CRIU 3.15 or newer"
            raise HostError("--status-fd requires at least CRIU 3.15", hint=hint)
        service.ask({"type": kind, "opts": request}, notified)
    finally:
        service.close()
        os.close(images)
        os.close(work)


def _request(
    container: Saved,
    operations: tuple[Operation, ...],
    joined: dict[int, tuple[str, str]],
    options: CriuOptions,
) -> "Message":
    request: Message = {
        "pid": container.pid,
        "root": container.rootfs,
        "leave_running": options.leave_running,
        "tcp_skip_in_flight": options.tcp_skip_in_flight,
        "link_remap": options.link_remap,
        "log_file": _LOG,
        **common_options(options, container.annotations),
    }
    externals = [
        f"{KEYS[flag][0]}[{_inode(path, where)}]:{KEYS[flag][1]}"
        for flag, (path, where) in joined.items()
        if flag in KEYS
    ]
    if container.freezer:
        request["freeze_cgroup"] = container.freezer
    if options.page_server:
        address, port = options.page_server
        request["ps"] = {"address": address, "port": int(port)}
    if options.parent_path:
        request["parent_img"] = options.parent_path
    if options.parent_path or options.pre_dump:
        request["track_mem"] = True
    if not options.pre_dump:
        keys = [path_in_root(container.rootfs, path) for path, _ in external_mounts(operations)]
        mounts: list[Message] = [{"key": key, "val": key} for key in keys]
        mounts += [{"key": path, "val": "/dev/null"} for path in _masked_files(container.pid, operations)]
        request["ext_mnt"] = mounts
        externals += [f"{name}" for name in _standard_streams(container.pid) if name.startswith("file[")]
    request["external"] = externals
    return request


def common_options(options: CriuOptions, annotations: dict[str, str]) -> "Message":
    """What a dump and a restore have in common."""
    request: Message = {
        "log_level": LOG_LEVEL,
        "notify_scripts": True,
        "shell_job": options.shell_job,
        "ext_unix_sk": options.ext_unix_sk,
        "tcp_established": options.tcp_established,
        "file_locks": options.file_locks,
        # The addresses and routes of a network namespace are the business of who made it.
        "empty_ns": NAMESPACE_FLAGS["network"],
        "orphan_pts_master": True,
        "auto_dedup": options.auto_dedup,
        "lazy_pages": options.lazy_pages,
        "manage_cgroups": True,
        "manage_cgroups_mode": DEFAULT_MODE if options.cgroups_mode is None else options.cgroups_mode,
    }
    if options.network_lock is not None:
        request["network_lock"] = options.network_lock
    # Without the annotation the file that runc's users have; with an empty one none.
    configuration = annotations.get(CRIU_CONFIG, "/etc/criu/runc.conf")
    if configuration:
        request["config_file"] = configuration
    return request


def make_directories(options: CriuOptions) -> None:
    """Make the directories of the images and of the log.

    Raises:
        HostError: that is not possible.
        UsageError: the images before these are not there.
    """
    for path in filter(None, (options.image_path, options.work_path)):
        try:
            os.makedirs(path, 0o700, exist_ok=True)
        except OSError as error:
            raise HostError(f"mkdir {path}: {errno_text(error.errno or 0)}") from None
    if not options.parent_path:
        return
    if options.parent_path.startswith("/"):
        raise UsageError("--parent-path must be relative", hint="it counts from --image-path")
    parent = os.path.normpath(f"{options.image_path}/{options.parent_path}")
    if not os.path.isdir(parent):
        number = errno.ENOTDIR if os.path.exists(parent) else errno.ENOENT
        raise UsageError(f"invalid --parent-path: stat {parent}: {errno_text(number)}")


def open_directory(path: str) -> int:
    """A descriptor of a directory that CRIU is told of.

    Raises:
        HostError: it is not there.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"open {path}: {errno_text(error.errno or 0)}") from None


def _require_features(service: Service, options: CriuOptions) -> None:
    """Ask CRIU for what pre-dumps and lazy pages need of it and of the kernel."""
    wanted = {"mem_track": options.pre_dump, "lazy_pages": options.lazy_pages}
    for name, needed in wanted.items():
        if not needed:
            continue
        answer = service.ask({"type": FEATURE_CHECK, "features": {name: True}, "keep_open": True})
        if not number(inner(answer, "features"), name):
            hint = "this kernel, or this CRIU, has not got it: see `criu check --extra`"
            raise HostError(f"CRIU is missing features: [{name}]", hint=hint)


def _inode(path: str, where: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise HostError(f"stat {path}: {errno_text(error.errno or 0)}", where=where) from None


def _masked_files(pid: int, operations: tuple[Operation, ...]) -> list[str]:
    """The masked paths that are files: over each of them lies /dev/null."""
    found: list[str] = []
    for path in masked_paths(operations):
        full = f"/proc/{pid}/root{path}"
        if os.path.exists(full) and not os.path.isdir(full):
            found.append(path)
    return found


def _standard_streams(pid: int) -> list[str]:
    """What the standard streams of the init are: as /proc says, or file[MOUNT:INODE] for a file of the host's.

    Of such a file CRIU remembers position and size: the one given to the restore has to be of that size.
    """
    own_mounts = _mount_ids(pid)
    names: list[str] = []
    for stream in range(3):
        try:
            name = os.readlink(f"/proc/{pid}/fd/{stream}")
            found = os.stat(f"/proc/{pid}/fd/{stream}")
            with open(f"/proc/{pid}/fdinfo/{stream}", encoding="ascii") as file:
                words = file.read().split()
        except OSError:
            names.append("")
            continue
        mount = words[words.index("mnt_id:") + 1] if "mnt_id:" in words else ""
        if stat.S_ISREG(found.st_mode) and mount and mount not in own_mounts:
            name = f"file[{int(mount):x}:{found.st_ino:x}]"
        names.append(name)
    return names


def _mount_ids(pid: int) -> set[str]:
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return {line.partition(" ")[0] for line in lines}


def _save_descriptors(pid: int, directory: str) -> None:
    """The names of the standard streams, in runc's form: a restore gives its own in their place."""
    path = f"{directory}/{DESCRIPTORS}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, dumps(_standard_streams(pid)).encode())
    finally:
        os.close(descriptor)


def _require_writable(descriptor: int) -> None:
    import fcntl

    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError as error:
        reason = errno_text(error.errno or 0)
        raise UsageError(f"invalid --status-fd argument {descriptor}: {reason}") from None
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError(f"invalid --status-fd argument {descriptor}: not writable")


def _tell_ready(descriptor: int) -> None:
    """Tell who waits at --status-fd that pages can be asked for; it may have gone."""
    try:
        os.write(descriptor, b"\0")
        os.close(descriptor)
    except OSError:
        return
