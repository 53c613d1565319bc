"""Requirements that a runtime is known to miss, each with why, so that a run of the suite shows only what is new.

The versions are those of Debian 12: runc 1.1.5 and crun 1.8.1.  A fault listed here which no longer shows is simply
passed: newer versions are run as well.
"""

from fnmatch import fnmatchcase

LATER = "the property is newer than this version, which passes it over without a word"

KNOWN_FAULTS: dict[str, dict[str, str]] = {
    "runc": {
        "process/rlimits-unique": "1.1.5 sets both entries, one after the other",
        "scheduling/batch": LATER,
        "scheduling/real-time": LATER,
        "scheduling/io-priority": LATER,
        "scheduling/exec-affinity": LATER,
        "scheduling/memory-policy": LATER,
        "scheduling/personality": LATER,
        "filesystem/mount-options": "1.1.5 gives a tmpfs the mode of the directory below it, whatever `mode` says",
        "filesystem/idmap": LATER,
        "filesystem/propagation": "1.1.5 makes the root unbindable before it binds it",
        "isolation/domainname": LATER,
        "isolation/time": "1.1.5 knows no time namespaces",
        "hooks/poststart": "1.1.5 runs poststart hooks at the end of create",
        "hooks/poststop-failing": "1.1.5 stops at the first poststop hook that fails",
        "runtime-tools/hooks_stdin": "1.1.5 runs poststart hooks at the end of create, and tells them another status",
        "runtime-tools/linux_cgroups*devices": "1.1.5 sorts the rules, and leaves rules of its own among them",
        "runtime-tools/linux_cgroups*memory": "1.1.5 sets no kernel TCP limit",
        "runtime-tools/linux_mount_label": "1.1.5 passes on a label without SELinux, which the kernel refuses",
        "runtime-tools/linux_rootfs_propagation": "1.1.5 makes the root unbindable before it binds it",
        "runtime-tools/linux_seccomp": "1.1.5 needs getcwd after it has loaded the filter",
        "runtime-tools/process_capabilities": "1.1.5 fails if a capability cannot be granted",
        "runtime-tools/process_rlimits": "1.1.5 starts its Go runtime under the limits that the program asks for",
    },
    "crun": {
        "process/cwd-absolute": "1.8.1 takes a relative cwd from the container's root",
        "process/rlimits-unique": "1.8.1 sets both entries, one after the other",
        "scheduling/batch": LATER,
        "scheduling/real-time": LATER,
        "scheduling/io-priority": LATER,
        "scheduling/exec-affinity": LATER,
        "scheduling/memory-policy": LATER,
        "filesystem/idmap": "1.8.1 takes a relative source of an idmapped mount from no directory at all",
        "isolation/duplicate": "1.8.1 makes the namespace once",
        "isolation/time": "1.8.1 ends before it writes the offsets",
        "seccomp/notify-needs-listener": "1.8.1 loads a filter that nobody answers",
        "hooks/create-runtime-status": "1.8.1 tells the hooks that the status is created",
        "verbs/events-stats": "1.8.1 has no such verb (crun issue 1273)",
        "verbs/features": "1.8.1 has no such verb",
        "runtime-tools/process_capabilities": "1.8.1 fails if a capability cannot be granted",
    },
}

# A requirement that runc and crun both miss is presumed to be a fault of its check.  Here is why it is not.
NEWER = (
    "the specification added it after both versions were released; pyruntime shows that the check can pass"
)
ARGUED: dict[str, str] = {
    "process/rlimits-unique": "config.md says that a duplicated type must give an error, without exception",
    "scheduling/batch": NEWER,
    "scheduling/real-time": NEWER,
    "scheduling/io-priority": NEWER,
    "scheduling/exec-affinity": NEWER,
    "scheduling/memory-policy": NEWER,
    "filesystem/idmap": "runc 1.1.5 has no idmapped mounts, and crun 1.8.1 fails for a source with a relative path",
    "runtime-tools/process_capabilities": "config.md wants a warning for a capability that cannot be granted",
    "isolation/time": "runc 1.1.5 has no time namespaces, and crun 1.8.1 ends with a broken socket",
}


def known_fault(runtime: str, identifier: str) -> str:
    """Why the runtime of this name misses the requirement; empty if nothing is known."""
    for pattern, reason in KNOWN_FAULTS.get(runtime, {}).items():
        if fnmatchcase(identifier, pattern):
            return reason
    return ""
