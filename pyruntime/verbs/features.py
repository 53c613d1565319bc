"""pyruntime features: what this runtime can do, for engines (features.md of the spec).

The lists are those by which plans are made, so that nothing is claimed which a plan would refuse.
"""

import os

from pyruntime.base.jsonio import dumps
from pyruntime.host.libseccomp import libseccomp_version
from pyruntime.spec.annotations import ACTED_UPON
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output
from pyruntime.version import COMMIT, SPEC_VERSION, VERSION

USAGE = ""
OPTIONS: tuple[Option, ...] = ()

_HOOKS = "prestart createRuntime createContainer startContainer poststart poststop"
# Since which kernel seccomp(2) takes a flag; TSYNC is about other threads, and there are none.
_FLAG_KERNELS = {
    "SECCOMP_FILTER_FLAG_LOG": (4, 14),
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": (4, 17),
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (5, 19),
}


def features(release: str = "") -> dict[str, object]:
    """The features document; true stands for what is built, whatever this host allows.

    `release`: the kernel's, as uname(2) has it; only the list of supported seccomp flags depends on it.
    """
    from pyruntime.plan.mount_options import KNOWN_OPTIONS

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": _HOOKS.split(),
        "mountOptions": sorted(KNOWN_OPTIONS),
        "linux": _linux(release or os.uname().release),
        "annotations": _annotations(),
        "potentiallyUnsafeConfigAnnotations": sorted(ACTED_UPON),
    }


def _linux(release: str) -> dict[str, object]:
    from pyruntime.plan.capabilities import CAPABILITY_NUMBERS
    from pyruntime.plan.init import MEMORY_FLAGS, MEMORY_MODES
    from pyruntime.plan.view import NAMESPACE_FLAGS

    return {
        "namespaces": sorted(NAMESPACE_FLAGS),
        "capabilities": sorted(CAPABILITY_NUMBERS, key=CAPABILITY_NUMBERS.__getitem__),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": _seccomp(release),
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def _seccomp(release: str) -> dict[str, object]:
    from pyruntime.plan.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

    return {
        "enabled": bool(libseccomp_version()),
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": [
            flag for flag in sorted(FLAGS) if kernel_version(release) >= _FLAG_KERNELS.get(flag, (0, 0))
        ],
    }


def kernel_version(release: str) -> tuple[int, int]:
    """(6, 1) of "6.1.0-13-amd64"; (0, 0) of what is no release."""
    major, _, rest = release.partition(".")
    minor = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return (int(major), int(minor)) if major.isdigit() and minor else (0, 0)


def _annotations() -> dict[str, str]:
    annotations = {
        "org.pyruntime.version": VERSION,
        "org.pyruntime.commit": COMMIT,
        "io.github.seccomp.libseccomp.version": libseccomp_version(),
        "org.opencontainers.runc.checkpoint.enabled": "true",
    }
    return {key: value for key, value in annotations.items() if value}


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    write_output(dumps(features(), indent=4) + "\n")
    return 0
