"""pyruntime features: what this runtime can do, for engines (features.md of the spec)."""

import sys

from pyruntime.base.jsonio import dumps
from pyruntime.host.libseccomp import libseccomp_version
from pyruntime.spec.annotations import ACTED_UPON
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option
from pyruntime.version import COMMIT, SPEC_VERSION, VERSION

USAGE = ""
OPTIONS: tuple[Option, ...] = ()

_HOOKS = "prestart createRuntime createContainer startContainer poststart poststop"
_NAMESPACES = "cgroup ipc mount network pid time user uts"
_ACTIONS = "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP"
_OPERATORS = "EQ GE GT LE LT MASKED_EQ NE"
_ARCHITECTURES = (
    "AARCH64 ARM MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 "
    "PPC PPC64 PPC64LE RISCV64 S390 S390X X32 X86 X86_64"
)
_MEMORY_MODES = "BIND DEFAULT INTERLEAVE LOCAL PREFERRED PREFERRED_MANY WEIGHTED_INTERLEAVE"
_MEMORY_FLAGS = "NUMA_BALANCING RELATIVE_NODES STATIC_NODES"
_FLAGS = "LOG SPEC_ALLOW TSYNC WAIT_KILLABLE_RECV"


def features() -> dict[str, object]:
    """The features document; true stands for what is built, whatever this host allows."""
    from pyruntime.plan.mount_options import KNOWN_OPTIONS

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": _HOOKS.split(),
        "mountOptions": sorted(KNOWN_OPTIONS),
        "linux": _linux(),
        "annotations": _annotations(),
        "potentiallyUnsafeConfigAnnotations": [
            "bundle",
            "org.systemd.property.",
            *ACTED_UPON,
        ],
    }


def _linux() -> dict[str, object]:
    from pyruntime.plan.capabilities import CAPABILITY_NUMBERS

    flags = [f"SECCOMP_FILTER_FLAG_{flag}" for flag in _FLAGS.split()]
    return {
        "namespaces": _NAMESPACES.split(),
        "capabilities": sorted(CAPABILITY_NUMBERS, key=CAPABILITY_NUMBERS.__getitem__),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": {
            "enabled": bool(libseccomp_version()),
            "actions": [f"SCMP_ACT_{action}" for action in _ACTIONS.split()],
            "operators": [f"SCMP_CMP_{operator}" for operator in _OPERATORS.split()],
            "archs": [f"SCMP_ARCH_{architecture}" for architecture in _ARCHITECTURES.split()],
            "knownFlags": flags,
            "supportedFlags": flags,
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {
            "modes": [f"MPOL_{name}" for name in _MEMORY_MODES.split()],
            "flags": [f"MPOL_F_{name}" for name in _MEMORY_FLAGS.split()],
        },
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }


def _annotations() -> dict[str, str]:
    annotations = {
        "org.pyruntime.version": VERSION,
        "org.pyruntime.commit": COMMIT,
        "io.github.seccomp.libseccomp.version": libseccomp_version(),
        "org.opencontainers.runc.checkpoint.enabled": "true",
    }
    return {key: value for key, value in annotations.items() if value}


def run(_arguments: Arguments, _options: GlobalOptions) -> int:
    sys.stdout.write(dumps(features(), indent=4) + "\n")
    return 0
