"""Bringing a container back: mount points, CRIU in the container's cgroups, and what it reports meanwhile."""

import os

from pyruntime.base.errors import ExpectedError, HostError, SpecError, errno_text
from pyruntime.base.jsonio import loads
from pyruntime.execute.criu.dump import DESCRIPTORS, KEYS, common_options, open_directory
from pyruntime.execute.criu.messages import RESTORE
from pyruntime.execute.criu.paths import path_in_root
from pyruntime.execute.criu.service import Service, find_criu, inner, number, socket_for_criu
from pyruntime.execute.session import FAILED, FIFO_FD, Session, descriptor_base
from pyruntime.execute.steps import run_to_end
from pyruntime.plan.criu import (
    CriuOptions,
    Saved,
    external_mounts,
    masked_paths,
    plan_criu_start,
    plan_mount_points,
    plan_raise_loopback,
)
from pyruntime.plan.launch import LaunchPlan
from pyruntime.plan.operations import CGROUPS_READY, NAMESPACE_NAMES, Operation
from pyruntime.plan.view import NAMESPACE_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyruntime.execute.criu.messages import Message

_LOG = "restore.log"
_ROOT = "criu-root"
_SHORT_NAMES = {"user": "user", "uts": "uts", "ipc": "ipc", "mount": "mnt", "time": "time"}
# Since which version a profile other than the saved one can be asked for.
_LSM = 31600
_FIRST = FIFO_FD  # of the executor's places: the socket stands there, and after it the namespaces


class RestoreSteps:
    """What happens meanwhile.

    `cgroups` makes the container's cgroups and gets the pid of the process that will be in them; `namespaces` and
    `restored` get the pid of the init, and `master` a pty's master.
    """

    def __init__(
        self,
        cgroups: "Callable[[int], None]",
        namespaces: "Callable[[int], None]",
        restored: "Callable[[int], None]",
        master: "Callable[[int], None]",
    ) -> None:
        self.cgroups = cgroups
        self.namespaces = namespaces
        self.restored = restored
        self.master = master


def restore(
    container: Saved,
    directory: str,
    plan: LaunchPlan,
    joined: dict[int, tuple[str, str]],
    options: CriuOptions,
    steps: RestoreSteps,
) -> int:
    """Bring back the processes saved in `options.image_path`; returns the pid of the init, a child of this process.

    `directory` is the container's in the store, `plan` the one that would make it; `joined` as in `ContainerView`.

    Raises:
        HostError: CRIU is missing, too old, or fails.  Nothing of the container is left running then.
        SpecError: the config has something that CRIU cannot restore.
        StepError: a step of the executor fails.
    """
    request = _request(container, plan.operations, joined, options)
    program = find_criu()
    namespaces = _open_namespaces(joined)
    root = f"{directory}/{_ROOT}"
    os.mkdir(root, 0o755)
    opened = list(namespaces.values())
    try:
        with _Restoring(container, plan, program, root, opened, steps) as restoring:
            run_to_end(plan_mount_points(plan.operations))
            pid = restoring.service.pid
            work_path = options.work_path or options.image_path
            # CRIU mounts below its working directory, which must be of its own mount namespace for that.
            # A link on the way (containerd's work directory is one) would lead back into the caller's namespace.
            images, work = (
                open_directory(f"/proc/{pid}/root{os.path.realpath(path)}")
                for path in (options.image_path, work_path)
            )
            opened += [images, work]
            request |= {"images_dir_fd": images, "work_dir_fd": work}
            request |= {"root": os.path.realpath(root), "cg_root": _cgroup_roots(pid)}
            inherited = _inherited_streams(options.image_path)
            inherited += [
                {"key": key, "fd": restoring.first + 1 + index} for index, key in enumerate(namespaces)
            ]
            request["inherit_fd"] = inherited
            restoring.service.log = f"{work_path}/{_LOG}"
            return restoring.restore(request, options, steps)
    finally:
        for descriptor in opened:
            os.close(descriptor)
        os.rmdir(root)


class _Restoring:
    """CRIU, started by the executor, and the container's init that it makes."""

    def __init__(
        self,
        container: Saved,
        plan: LaunchPlan,
        program: str,
        root: str,
        extra: list[int],
        steps: RestoreSteps,
    ) -> None:
        self.first = descriptor_base(3) + _FIRST
        self.init = 0
        ours, theirs = socket_for_criu()
        operations = plan_criu_start(
            plan.cgroup,
            program,
            tuple(f"{name}={value}" for name, value in os.environ.items()),
            rootfs=container.rootfs,
            root=root,
            kept=range(self.first, self.first + 1 + len(extra)),
        )
        descriptors = {_FIRST + index: passed for index, passed in enumerate((theirs, *extra))}
        try:
            self.session = Session(operations, first_private=3, descriptors=descriptors)
        finally:
            os.close(theirs)
        self.service = Service(ours, self._follow(steps))

    def _follow(self, steps: RestoreSteps) -> int:
        """Make the cgroups and wait until CRIU has been executed in them; returns its pid."""
        try:
            steps.cgroups(self.session.pid)
            self.session.order(CGROUPS_READY)
            while (report := self.session.next_report()) is not None:
                if report.kind == FAILED:
                    raise self.session.failure(report)
        except BaseException:
            self.session.kill()
            raise
        self.session.reap_helpers()
        self.session.close()
        return self.session.pid

    def __enter__(self) -> "_Restoring":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.service.close()

    def restore(self, request: "Message", options: CriuOptions, steps: RestoreSteps) -> int:
        """Ask for the restore; returns the pid of the init."""
        version = self.service.version()
        for name, value in (
            ("--lsm-profile", options.lsm_profile),
            ("--lsm-mount-context", options.lsm_mount_context),
        ):
            if value and version < _LSM:
                raise HostError(f"{name} requires at least CRIU 3.16", hint="install a newer CRIU")
        try:
            answer = self.service.ask(
                {"type": RESTORE, "opts": request},
                lambda script, pid, descriptor: self._notified(script, pid, descriptor, steps),
            )
        except BaseException:
            self._kill_init()
            raise
        return number(inner(answer, "restore"), "pid") or self.init

    def _notified(self, script: str, pid: int, descriptor: int, steps: RestoreSteps) -> None:
        try:
            if script == "setup-namespaces":
                steps.namespaces(pid)
            elif script == "post-restore":
                self.init = pid
                steps.restored(pid)
            elif script == "orphan-pts-master" and descriptor >= 0:
                steps.master(descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _kill_init(self) -> None:
        """CRIU kills what it has made when it is told no; but it may itself be gone."""
        if self.init <= 0:
            return
        try:
            os.kill(self.init, 9)
            os.waitpid(self.init, 0)
        except (ProcessLookupError, ChildProcessError):
            return


def raise_loopback(pid: int) -> None:
    """Bring up the loopback device of a process's network namespace.

    Raises:
        StepError: that is refused.
    """
    run_to_end(plan_raise_loopback(pid))


def _request(
    container: Saved,
    operations: tuple[Operation, ...],
    joined: dict[int, tuple[str, str]],
    options: CriuOptions,
) -> "Message":
    mounts: list[Message] = [
        {"key": path_in_root(container.rootfs, path), "val": source}
        for path, source in external_mounts(operations)
    ]
    if masked_paths(operations):
        mounts.append({"key": "/dev/null", "val": "/dev/null"})
    request: Message = {
        "evasive_devices": True,
        "rst_sibling": True,
        "log_file": _LOG,
        "tcp_close": options.tcp_close,
        "ext_mnt": mounts,
        "join_ns": _joined_namespaces(joined),
        **common_options(options, container.annotations),
    }
    if options.lsm_profile:
        request["lsm_profile"] = options.lsm_profile
    if options.lsm_mount_context:
        request["lsm_mount_context"] = options.lsm_mount_context
    return request


def _joined_namespaces(joined: dict[int, tuple[str, str]]) -> "list[Message]":
    """Namespaces by path that CRIU joins by itself; those in KEYS are given to it as descriptors."""
    found: list[Message] = []
    for flag, (path, where) in joined.items():
        if flag in KEYS:
            continue
        if flag == NAMESPACE_FLAGS["cgroup"]:
            hint = "leave its path out, so that it gets a new one"
            raise SpecError("CRIU cannot join a cgroup namespace", where=where, hint=hint)
        found.append({"ns": _SHORT_NAMES[NAMESPACE_NAMES[flag]], "ns_file": path})
    return found


def _open_namespaces(joined: dict[int, tuple[str, str]]) -> dict[str, int]:
    """Descriptors of the network and pid namespace that the container joins, by the keys of the dump."""
    found: dict[str, int] = {}
    for flag, (path, where) in joined.items():
        if flag in KEYS:
            kind, key = NAMESPACE_NAMES[flag], KEYS[flag][1]
            try:
                found[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                for descriptor in found.values():
                    os.close(descriptor)
                reason = errno_text(error.errno or 0)
                what = f"Requested {kind} namespace {path} does not exist: {reason}"
                raise HostError(what, where=where) from None
    return found


def _cgroup_roots(pid: int) -> "list[Message]":
    """The cgroups that CRIU is in, which are the container's."""
    roots: list[Message] = []
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            roots += [{"ctrl": controller, "path": path} for controller in controllers.split(",")]
    return roots


def _inherited_streams(directory: str) -> "list[Message]":
    """Our standard streams for those of the saved container that led out of it."""
    path = f"{directory}/{DESCRIPTORS}"
    try:
        with open(path, "rb") as file:
            names = loads(file.read(), where=path)
    except OSError as error:
        hint = "--image-path has to be that of a checkpoint"
        raise HostError(f"open {path}: {errno_text(error.errno or 0)}", hint=hint) from None
    except ExpectedError:
        names = None
    if not isinstance(names, list):
        raise HostError("this is no list of descriptors", where=path)
    return [
        {"key": name, "fd": stream}
        for stream, name in enumerate(names)
        if isinstance(name, str) and ("pipe:" in name or name.startswith("file["))
    ]
