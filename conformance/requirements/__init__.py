"""Every requirement, subject by subject; a new file is added to the table here."""

from conformance.requirement import Checked
from conformance.requirements import (
    cgroups,
    devices,
    features,
    filesystem,
    hooks,
    lifecycle,
    mount_options,
    mounts,
    namespaces,
    network_devices,
    process,
    scheduling,
    seccomp,
    seccomp_notify,
    terminal,
    update,
    verbs,
)

SUBJECTS = (
    lifecycle.SUBJECT,
    process.SUBJECT,
    scheduling.SUBJECT,
    mounts.SUBJECT,
    mount_options.SUBJECT,
    filesystem.SUBJECT,
    devices.SUBJECT,
    namespaces.SUBJECT,
    cgroups.SUBJECT,
    update.SUBJECT,
    seccomp.SUBJECT,
    seccomp_notify.SUBJECT,
    hooks.SUBJECT,
    terminal.SUBJECT,
    verbs.SUBJECT,
    features.SUBJECT,
    network_devices.SUBJECT,
)
REQUIREMENTS: tuple[Checked, ...] = tuple(
    requirement for subject in SUBJECTS for requirement in subject.requirements
)
