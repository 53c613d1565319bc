"""Requirements that a runtime is known to miss, each with why, so that a run of the suite shows only what is new.

The versions are those of Debian 12: runc 1.1.5 and crun 1.8.1.  A fault listed here which no longer shows is simply
passed: newer versions are run as well.
"""

from fnmatch import fnmatchcase

POSTSTART_EARLY = "1.1.5 runs poststart hooks at the end of create (runc issue 4347)"
KEEPS = "1.8.1 keeps an option that a later one takes back"
TAKEN_BACK = "async atime dev diratime exec rw suid"
UNKNOWN_TO_CRUN = "iversion loud noiversion silent nosymfollow symfollow rnosymfollow rsymfollow"
SETATTR = "1.8.1 does not clear the kernel's field of access times before it sets it"
RECURSIVE_OF_CRUN = "rnodiratime rdiratime rnoatime ratime rrelatime rstrictatime rnostrictatime"
PRIVATE_AGAIN = "1.8.1 makes every mount private at the end, unless rootfsPropagation says otherwise"
PROPAGATION_OF_CRUN = "shared rshared unbindable runbindable"
LATER = "the property is newer than this version, which passes it over without a word"

_NEW = "other batch nice-default idle reset-on-fork real-time deadline unknown* io-priority* memory-*"
NEW_SCHEDULING = {f"scheduling/{pattern}": LATER for pattern in _NEW.split()}
NEW_SCHEDULING |= {f"scheduling/exec-affinity{which}": LATER for which in ("", "-list", "-invalid")}
TAKES_ANY = "it takes whatever is at the path for the device"

KNOWN_FAULTS: dict[str, dict[str, str]] = {
    "runc": {
        "update/check-before-update": LATER,
        "cgroups/no-conversion": "1.1.5 passes over what cgroup v2 has nothing for",
        "cgroups/owner-changed": "1.1.5 changes the owner with the systemd driver only",
        "verbs/exec-process": "1.1.5 passes over the umask of the file",
        "verbs/exec-inherits": "1.1.5 now and then leaves the limit of open files that Go has raised (runc issue 4195)",
        "features/mount-options": "1.1.5 names two that it then gets wrong: ratime and rnostrictatime",
        "network-devices/*": LATER,
        "lifecycle/version-invalid": "1.1.5 does not look at ociVersion",
        "cgroups/cpu-idle": LATER,
        "cgroups/cpu-burst": LATER,
        "cgroups/hugepages-reserved": LATER,
        "cgroups/pids-zero": "1.1.5 takes 0 for no limit",
        **NEW_SCHEDULING,
        "devices/conflict*": TAKES_ANY,
        "process/rlimits-unique": "1.1.5 sets both entries, one after the other",
        "scheduling/personality*": LATER,
        "mounts/specific-options": "1.1.5 gives a tmpfs the mode of the directory below it, whatever `mode` says",
        "mounts/idmap*": LATER,
        "mounts/ridmap": LATER,
        "mount-options/defaults": "1.1.5 passes `defaults` on to a file system that refuses it",
        "mount-options/ratime": "1.1.5 clears only half of the kernel's field of access times, which is refused",
        "mount-options/rnostrictatime": "1.1.5 clears only half of the kernel's field of access times",
        "filesystem/propagation-shared": "1.1.5 makes the root shared before it binds it",
        "filesystem/propagation-unbindable": "1.1.5 makes the root unbindable before it binds it",
        "namespaces/domainname": LATER,
        "namespaces/time-*": "1.1.5 knows no time namespaces",
        "namespaces/user-joined": "1.1.5 wants mappings for a user namespace that is there already",
        "namespaces/relative-path": "1.1.5 takes it from its own working directory",
        "namespaces/mappings-need-namespace": "1.1.5 passes over mappings that have no namespace",
        "seccomp/architectures": "1.1.5 knows no RISCV64",
        "seccomp/flag-*": "1.1.5 refuses flags of any name",
        "seccomp/errno-not-supported": "1.1.5 passes over an errnoRet that has no meaning",
        "seccomp/default-errno-not-supported": "1.1.5 passes over a defaultErrnoRet that has no meaning",
        "seccomp/no-names": "1.1.5 passes over a rule without names",
        "seccomp/metadata-needs-listener": "1.1.5 passes over metadata for nobody",
        "hooks/poststart": POSTSTART_EARLY,
        "hooks/poststart-namespace": POSTSTART_EARLY,
        "hooks/poststart-state": POSTSTART_EARLY,
        "hooks/poststart-status": POSTSTART_EARLY,
        "hooks/poststart-order": POSTSTART_EARLY,
        "hooks/poststart-argv-env": POSTSTART_EARLY,
        "hooks/poststart-failing": POSTSTART_EARLY,
        "hooks/start-container-absolute": "1.1.5 does not check the paths of startContainer hooks",
        "hooks/poststop-absolute": "1.1.5 does not check the paths of poststop hooks",
        "hooks/*-timeout-positive": "1.1.5 lets such a timer win or lose against the hook, and checks nothing",
        "hooks/poststop-failing": "1.1.5 stops at the first poststop hook that fails",
        "runtime-tools/hooks_stdin": "1.1.5 runs poststart hooks at the end of create, and tells them another status",
        "runtime-tools/linux_cgroups*devices": "1.1.5 sorts the rules, and leaves rules of its own among them",
        "runtime-tools/linux_cgroups*memory": "1.1.5 sets no kernel TCP limit",
        "runtime-tools/linux_mount_label": "1.1.5 passes on a label without SELinux, which the kernel refuses",
        "runtime-tools/linux_rootfs_propagation": "1.1.5 makes the root unbindable before it binds it",
        "runtime-tools/linux_seccomp": "1.1.5 needs getcwd after it has loaded the filter",
        "runtime-tools/process_capabilities": "1.1.5 fails if a capability cannot be granted",
    },
    "crun": {
        "cgroups/owner-read-only": "1.8.1 changes the owner for every user namespace",
        "cgroups/owner-needs-namespace": "1.8.1 changes the owner for every user namespace",
        "verbs/exec-inherits": "1.8.1 begins in / as root, whatever the process of the container has",
        "verbs/resume-running": "1.8.1 thaws what is not frozen",
        "verbs/events-interval": "1.8.1 has no such verb (crun issue 1273)",
        "network-devices/*": LATER,
        "terminal/foreground": "1.8.1 passes the size on only when it changes",
        "terminal/not-needed": "1.8.1 passes over a console socket that it does not need",
        "lifecycle/kill-unknown-signal": "1.8.1 takes a name that it does not know for signal 0",
        "lifecycle/invalid-values": "1.8.1 passes over args that are no array",
        "cgroups/pids-unlimited": "1.8.1 writes -1 where the kernel wants max",
        "cgroups/cpu-burst": LATER,
        "cgroups/hugepages-reserved": LATER,
        "cgroups/pids-zero": "1.8.1 takes 0 for no limit",
        "cgroups/block-weight": "1.8.1 knows the files of the CFQ scheduler only",
        "cgroups/not-empty": "1.8.1 kills whatever is in the cgroup",
        "cgroups/rdt-unavailable": "1.8.1 passes over intelRdt",
        "update/stopped": "1.8.1 writes to the cgroup that is left",
        **NEW_SCHEDULING,
        "devices/conflict*": TAKES_ANY,
        "devices/unknown-type": "1.8.1 takes every other type for a character device",
        "process/cwd-absolute": "1.8.1 takes a relative cwd from the container's root",
        "process/rlimits-unique": "1.8.1 sets both entries, one after the other",
        "mounts/idmap-relative": "1.8.1 takes a relative source of an idmapped mount from no directory at all",
        "mounts/idmap-needs-mappings": "1.8.1 makes such a mount without mapping",
        **dict.fromkeys((f"mount-options/{name}" for name in TAKEN_BACK.split()), KEEPS),
        **dict.fromkeys(
            (f"mount-options/{name}" for name in UNKNOWN_TO_CRUN.split()), "1.8.1 does not know it"
        ),
        **dict.fromkeys((f"mount-options/{name}" for name in RECURSIVE_OF_CRUN.split()), SETATTR),
        **dict.fromkeys((f"mount-options/{name}" for name in PROPAGATION_OF_CRUN.split()), PRIVATE_AGAIN),
        "namespaces/duplicate": "1.8.1 makes the namespace once",
        "namespaces/time-*": "1.8.1 ends before it writes the offsets",
        "namespaces/relative-path": "1.8.1 takes it from its own working directory",
        "namespaces/mappings-need-namespace": "1.8.1 passes over mappings that have no namespace",
        "process/args-required": "1.8.1 ends well without a program to run",
        "seccomp/no-names": "1.8.1 passes over a rule without names",
        "seccomp/metadata-needs-listener": "1.8.1 passes over metadata for nobody",
        "seccomp-notify/ignored-listener": "1.8.1 connects to a listener for whom it has nothing",
        "seccomp/notify-needs-listener": "1.8.1 loads a filter that nobody answers",
        "hooks/*-timeout-positive": "1.8.1 takes a timeout of 0 or less for none",
        "hooks/prestart-failing": "1.8.1 runs no poststop hooks after a create that failed",
        "hooks/create-runtime-failing": "1.8.1 runs no poststop hooks after a create that failed",
        "hooks/create-container-failing": "1.8.1 runs no poststop hooks after a create that failed",
        "hooks/start-container-state": "1.8.1 tells startContainer hooks that the bundle is at /",
        "hooks/start-container-absolute": "1.8.1 looks for it in the working directory",
        "hooks/poststart-absolute": "1.8.1 passes over a poststart hook that fails",
        "hooks/poststop-absolute": "1.8.1 passes over it when it deletes",
        "hooks/poststart-failing": "1.8.1 passes over a poststart hook that fails",
        "verbs/events-stats": "1.8.1 has no such verb (crun issue 1273)",
        "features/structure": "1.8.1 has no such verb",
        "runtime-tools/process_capabilities": "1.8.1 fails if a capability cannot be granted",
    },
}

# A requirement that runc and crun both miss is presumed to be a fault of its check.  Here is why it is not.
NEWER = (
    "the specification added it after both versions were released; pyruntime shows that the check can pass"
)
ARGUED: dict[str, str] = {
    "network-devices/*": NEWER,
    "cgroups/cpu-burst": NEWER,
    "cgroups/hugepages-reserved": NEWER,
    "cgroups/pids-zero": NEWER,
    **dict.fromkeys(NEW_SCHEDULING, NEWER),
    "devices/conflict*": "config-linux.md says it in so many words: the runtime MUST generate an error",
    "process/rlimits-unique": "config.md says that a duplicated type must give an error, without exception",
    "hooks/poststart-failing": "runtime.md, step 9: start must fail and the container be stopped; a fault of both",
    "hooks/start-container-absolute": "config.md: `path` MUST be absolute, of every kind of hook",
    "hooks/poststop-absolute": "config.md: `path` MUST be absolute, of every kind of hook",
    "hooks/*-timeout-positive": "config.md: `timeout` MUST be greater than zero, of every kind of hook",
    "mounts/idmap-relative": "runc 1.1.5 has no idmapped mounts, and crun 1.8.1 loses the directory of the bundle",
    "mounts/idmap-needs-mappings": "config.md says of `idmap` that an error MUST be returned; runc 1.1.5 ignores it",
    "verbs/exec-inherits": "runc 1.1.5 passes but for a race about one limit; crun 1.8.1 fails in other points",
    "mount-options/ratime": "the table of config.md has it; mount_setattr(2) says how both came to be refused",
    "mount-options/rnostrictatime": "the table of config.md has it; mount_setattr(2) says how both came to be refused",
    "runtime-tools/process_capabilities": "config.md wants a warning for a capability that cannot be granted",
    "namespaces/relative-path": "config-linux.md: the path MUST be absolute; a relative one depends on who asks",
    "namespaces/mappings-need-namespace": "config.md: an invalid value MUST be an error; a container that runs without "
    "the mappings that it was to have is not confined as its owner believes",
    "seccomp/no-names": "config-linux.md: `names` MUST contain at least one entry, and invalid values are errors",
    "seccomp/metadata-needs-listener": "config-linux.md: it MUST NOT be set without listenerPath",
    "namespaces/time-*": "runc 1.1.5 has no time namespaces, and crun 1.8.1 ends with a broken socket",
}


def known_fault(runtime: str, identifier: str) -> str:
    """Why the runtime of this name misses the requirement; empty if nothing is known."""
    for pattern, reason in KNOWN_FAULTS.get(runtime, {}).items():
        if fnmatchcase(identifier, pattern):
            return reason
    return ""
