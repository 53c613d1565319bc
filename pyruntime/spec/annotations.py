"""Annotations that change what a container is: crun's and runc's, which podman, cri-o and their users set.

Source: crun(1), "EXTENSIONS TO OCI".
"""

from pyruntime.base.decode import escape
from pyruntime.base.errors import SpecError
from pyruntime.spec.config import Config

# podman sets it for --group-add keep-groups.
KEEP_GROUPS = "run.oci.keep_original_groups"
PIDFD_RECEIVER = "run.oci.pidfd_receiver"
HOOK_STDOUT = "run.oci.hooks.stdout"
HOOK_STDERR = "run.oci.hooks.stderr"
MOUNT_CONTEXT = "run.oci.mount_context_type"
STRICT_SECCOMP = "run.oci.seccomp_fail_unknown_syscall"
_SECCOMP_RECEIVER = "run.oci.seccomp.receiver"
SUB_CGROUP = "run.oci.systemd.subgroup"
# runc's: a prefix, followed by the name of a property of the systemd unit.
SYSTEMD_PROPERTY = "org.systemd.property."
# A configuration file of CRIU's for this container.
CRIU_CONFIG = "org.criu.config"

MOUNT_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")

# What would run another program or filter than the config says: to ignore it would be a promise broken in silence.
REFUSED = {
    "run.oci.handler": "run a program of this machine, or use a runtime that has the handler",
    "run.oci.seccomp_bpf_data": "describe the filter in linux.seccomp",
    "run.oci.seccomp.plugins": "name a socket in linux.seccomp.listenerPath",
}
# What only places the container otherwise.
IGNORED = ("run.oci.delegate-cgroup", "run.oci.systemd.force_cgroup_v1")

# One that ends in a dot stands for all that begin with it (features.md, "Unsafe annotations in config.json").
ACTED_UPON = (
    CRIU_CONFIG, SYSTEMD_PROPERTY, HOOK_STDERR, HOOK_STDOUT, KEEP_GROUPS, MOUNT_CONTEXT, PIDFD_RECEIVER,
    _SECCOMP_RECEIVER, STRICT_SECCOMP, SUB_CGROUP,
)  # fmt: skip


def check_annotations(config: Config) -> None:
    """Check the annotations that mean something here.

    Raises:
        SpecError: a key is empty, or it asks for what this runtime does not do.
    """
    for key, value in config.annotations.items():
        where = f"/annotations/{escape(key)}"
        if not key:
            raise SpecError(
                "annotation with an empty key", where="/annotations", hint="name it, or remove it"
            )
        if key in REFUSED:
            raise SpecError(f"annotation {key} is not supported", where=where, hint=REFUSED[key])
        if key in (PIDFD_RECEIVER, HOOK_STDOUT, HOOK_STDERR, _SECCOMP_RECEIVER) and not value.startswith("/"):
            hint = "write an absolute path"
            raise SpecError(f"annotation {key} is not a path: {value!r}", where=where, hint=hint)
        if key == MOUNT_CONTEXT and value not in MOUNT_CONTEXTS:
            hint = f"use one of {', '.join(MOUNT_CONTEXTS)}"
            raise SpecError(f"unknown mount context type {value!r}", where=where, hint=hint)


def with_annotations(config: Config) -> Config:
    """The config with what annotations say in place of properties: the receiver of seccomp notifications."""
    receiver = config.annotations.get(_SECCOMP_RECEIVER)
    linux = config.linux
    if not receiver or linux is None or linux.seccomp is None or linux.seccomp.listener_path:
        return config
    return config.replace(linux=linux.replace(seccomp=linux.seccomp.replace(listener_path=receiver)))
