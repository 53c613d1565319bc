"""Every requirement, subject by subject; a new file is added to the table here."""

from conformance.requirement import Checked
from conformance.requirements import (
    cgroups,
    filesystem,
    hooks,
    isolation,
    lifecycle,
    mount_options,
    mounts,
    process,
    scheduling,
    seccomp,
    verbs,
)

SUBJECTS = (
    lifecycle.SUBJECT,
    process.SUBJECT,
    scheduling.SUBJECT,
    mounts.SUBJECT,
    mount_options.SUBJECT,
    filesystem.SUBJECT,
    isolation.SUBJECT,
    cgroups.SUBJECT,
    seccomp.SUBJECT,
    hooks.SUBJECT,
    verbs.SUBJECT,
)
REQUIREMENTS: tuple[Checked, ...] = tuple(
    requirement for subject in SUBJECTS for requirement in subject.requirements
)
