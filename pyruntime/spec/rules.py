"""What a config must obey beyond its form: one function a rule, the table of rules at the end.

The rules of the section `linux` are in `linux_rules`.  What a planner reads value by value it checks itself
(mount options, seccomp, resources, devices, rlimits), so that each table of names stands in one place.
Source: runtime-spec 1.3, config.md; runc's validation where the spec leaves room.
"""

from pyruntime.base.errors import SpecError
from pyruntime.spec.annotations import check_annotations
from pyruntime.spec.config import Config, Mount
from pyruntime.spec.linux import Linux
from pyruntime.spec.linux_rules import LINUX_RULES, check_mappings

_ABSOLUTE = "start it with '/': it is looked up from the container's root"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Rules = tuple[Callable[[Config], None], ...]


def check_rules(config: Config) -> None:
    """Check every rule in order.

    Raises:
        SpecError: the first rule that is broken, with its JSON pointer and the way out; the hint names the others.
    """
    _check(config, RULES)


def check_process_rules(config: Config) -> None:
    """Check what is said of the process, in a config whose other parts were checked when its container was made.

    Raises:
        SpecError: as from `check_rules`.
    """
    _check(config, PROCESS_RULES)


def _check(config: Config, rules: "Rules") -> None:
    try:
        check_rules_in_order(config, rules)
    except SpecError:
        from pyruntime.spec.explain import summarise

        raise summarise(broken_rules(config, rules)) from None


def check_rules_in_order(config: Config, rules: "Rules | None" = None) -> None:
    """Check the rules in order (None: all).

    Raises:
        SpecError: the first rule that is broken, without a word about the others.
    """
    for rule in RULES if rules is None else rules:
        rule(config)


def broken_rules(config: Config, rules: "Rules | None" = None) -> list[SpecError]:
    """The first fault that each rule finds, in the order of the rules (None: all)."""
    faults: list[SpecError] = []
    for rule in RULES if rules is None else rules:
        try:
            rule(config)
        except SpecError as fault:
            faults.append(fault)
    return faults


def check_version(config: Config) -> None:
    hint = 'write "ociVersion": "1.3.0"; this runtime carries out versions 1.x'
    numbers = config.oci_version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        what = f"ociVersion {config.oci_version!r} is not a semantic version"
        raise SpecError(what, where="/ociVersion", hint=hint)
    if numbers[0] != "1":
        raise SpecError(f"unsupported ociVersion {config.oci_version!r}", where="/ociVersion", hint=hint)


def check_root(config: Config) -> None:
    if config.root is None:
        raise SpecError("config has no root", where="/root", hint='add "root": {"path": "rootfs"}')
    if not config.root.path:
        raise SpecError(
            "root.path is empty", where="/root/path", hint="name the directory of the root filesystem"
        )


def check_process(config: Config) -> None:
    process = config.process
    if process is None:
        hint = 'add a "process" with "args" and "cwd"'
        raise SpecError("process property must not be empty", where="/process", hint=hint)
    if not process.args:
        raise SpecError("args must not be empty", where="/process/args", hint="name the program to run")
    if not process.cwd.startswith("/"):
        what = (
            f"cwd must be an absolute path, found {process.cwd!r}"
            if process.cwd
            else "Cwd property must not be empty"
        )
        raise SpecError(what, where="/process/cwd", hint=_ABSOLUTE)


def check_environment(config: Config) -> None:
    for index, entry in enumerate(config.process.env if config.process else ()):
        name, equals, _ = entry.partition("=")
        if not equals or not name:
            where = f"/process/env/{index}"
            hint = "write each entry as NAME=VALUE"
            raise SpecError(f"invalid environment variable: {entry!r}", where=where, hint=hint)


def check_user(config: Config) -> None:
    if config.process is None:
        return
    user, linux = config.process.user, config.linux or Linux()
    if user.umask is not None and user.umask > 0o777:
        hint = "it is decimal in JSON: 18 is octal 022"
        raise SpecError(f"umask {user.umask} is out of range", where="/process/user/umask", hint=hint)
    groups = [(f"additionalGids/{index}", "gid", gid) for index, gid in enumerate(user.additional_gids)]
    for place, kind, value in [("uid", "uid", user.uid), ("gid", "gid", user.gid), *groups]:
        table = linux.uid_mappings if kind == "uid" else linux.gid_mappings
        if table and not any(
            entry.container_id <= value < entry.container_id + entry.size for entry in table
        ):
            hint = f"add it to linux.{kind}Mappings, or choose a {kind} that is mapped"
            what = f"{kind} {value} is not mapped in the user namespace"
            raise SpecError(what, where=f"/process/user/{place}", hint=hint)


def check_terminal(config: Config) -> None:
    process = config.process
    if process is None or not process.terminal or process.console_size is None:
        return
    for name, value in (("height", process.console_size.height), ("width", process.console_size.width)):
        if value > 0xFFFF:
            where = f"/process/consoleSize/{name}"
            raise SpecError(f"terminal {name} {value} is out of range", where=where, hint="use 0 to 65535")


def check_limits(config: Config) -> None:
    if config.process is None:
        return
    for index, limit in enumerate(config.process.rlimits):
        if limit.soft > limit.hard:
            what = f"{limit.type}: soft limit {limit.soft} is above the hard limit {limit.hard}"
            hint = "lower soft, or raise hard"
            raise SpecError(what, where=f"/process/rlimits/{index}/soft", hint=hint)
    score = config.process.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        what = f"oomScoreAdj {score} is out of range"
        raise SpecError(what, where="/process/oomScoreAdj", hint="use -1000 to 1000")


def check_scheduler(config: Config) -> None:
    """Source: config.md, "process.scheduler"; sched(7)."""
    scheduler = config.process.scheduler if config.process else None
    if scheduler is None:
        return
    where = "/process/scheduler"
    if not -20 <= (scheduler.nice or 0) <= 19:
        what = f"nice {scheduler.nice} is out of range"
        raise SpecError(what, where=f"{where}/nice", hint="use -20 (first served) to 19")
    real_time = scheduler.policy in ("SCHED_FIFO", "SCHED_RR")
    if scheduler.priority and not real_time:
        hint = "remove it, or use SCHED_FIFO or SCHED_RR"
        raise SpecError(f"{scheduler.policy} takes no priority", where=f"{where}/priority", hint=hint)
    if real_time and not 1 <= (scheduler.priority or 0) <= 99:
        what = f"{scheduler.policy} needs a priority"
        raise SpecError(what, where=f"{where}/priority", hint="use 1 to 99 (first served)")
    if scheduler.policy != "SCHED_DEADLINE":
        for name in ("runtime", "deadline", "period"):
            if getattr(scheduler, name):
                what = f"{scheduler.policy} takes no {name}"
                hint = "remove it, or use SCHED_DEADLINE"
                raise SpecError(what, where=f"{where}/{name}", hint=hint)


def check_io_priority(config: Config) -> None:
    priority = config.process.io_priority if config.process else None
    if priority is not None and not 0 <= (priority.priority or 0) <= 7:
        what = f"I/O priority {priority.priority} is out of range"
        raise SpecError(what, where="/process/ioPriority/priority", hint="use 0 (first served) to 7")


def check_names(config: Config) -> None:
    linux = config.linux or Linux()
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if value and linux.namespace("uts") is None:
            hint = 'add {"type": "uts"} to linux.namespaces'
            what = f"unable to set {name} without a private UTS namespace"
            raise SpecError(what, where=f"/{name}", hint=hint)
        if len(value.encode("utf-8", "surrogateescape")) > 64:
            raise SpecError(f"{name} is too long", where=f"/{name}", hint="at most 64 bytes")


def check_mounts(config: Config) -> None:
    for index, mount in enumerate(config.mounts):
        where = f"/mounts/{index}"
        # A relative destination is deprecated, but means one below "/".
        if not [part for part in mount.destination.split("/") if part not in ("", ".", "..")]:
            hint = "the root comes from root.path: choose a path below it"
            raise SpecError("mount destination is the root itself", where=f"{where}/destination", hint=hint)
        binds = "bind" in mount.options or "rbind" in mount.options
        if mount.type in ("bind", "rbind") and not binds:
            hint = 'add "rbind" to its options: the type alone does not make a bind mount'
            what = f"mount of type {mount.type!r} without the option bind or rbind"
            raise SpecError(what, where=f"{where}/options", hint=hint)
        if not mount.type and not binds and "remount" not in mount.options:
            hint = 'add "type", or "rbind" to the options'
            raise SpecError(f"mount on {mount.destination} has no type", where=f"{where}/type", hint=hint)
        _check_mount_mappings(mount, where, binds=binds)


def _check_mount_mappings(mount: Mount, where: str, *, binds: bool) -> None:
    # Most have nothing to do with it, and their options need not be taken apart.
    if not mount.uid_mappings and not mount.gid_mappings and "idmap" not in " ".join(mount.options):
        return
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        what = "mount has only one of uidMappings and gidMappings"
        raise SpecError(what, where=where, hint="give both or neither")
    wanted = any(option.partition("=")[0] in ("idmap", "ridmap") for option in mount.options)
    if not binds and (mount.uid_mappings or wanted):
        hint = "only a bind mount can be idmapped: add bind to its options"
        raise SpecError("id mappings on a mount that is not a bind mount", where=where, hint=hint)
    check_mappings(mount.uid_mappings, f"{where}/uidMappings")
    check_mappings(mount.gid_mappings, f"{where}/gidMappings")


def check_hooks(config: Config) -> None:
    hooks = config.hooks
    if hooks is None:
        return
    lists = {
        "prestart": hooks.prestart,
        "createRuntime": hooks.create_runtime,
        "createContainer": hooks.create_container,
        "startContainer": hooks.start_container,
        "poststart": hooks.poststart,
        "poststop": hooks.poststop,
    }
    for name, entries in lists.items():
        for index, hook in enumerate(entries):
            where = f"/hooks/{name}/{index}"
            if not hook.path.startswith("/"):
                hint = "start it with '/'"
                raise SpecError(f"hook path {hook.path!r} is relative", where=f"{where}/path", hint=hint)
            if hook.timeout is not None and hook.timeout <= 0:
                raise SpecError(
                    "hook timeout must be greater than zero", where=f"{where}/timeout", hint="in seconds"
                )


PROCESS_RULES = (
    check_process,
    check_environment,
    check_user,
    check_terminal,
    check_limits,
    check_scheduler,
    check_io_priority,
)
RULES = (
    check_version,
    check_root,
    *PROCESS_RULES,
    check_names,
    check_mounts,
    check_hooks,
    check_annotations,
    *LINUX_RULES,
)
