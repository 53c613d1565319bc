"""Why a requirement may be left unshown: what hosts lack, in the words of the checks.

A reason that is in no pattern here fails `--strict`, so that nothing drops out of the report unnoticed.
"""

import re

from conformance.judge import Judgement
from conformance.requirement import Level

KNOWN_LACKS = {
    r"this machine is not all cgroup v2": "the property is of cgroup v2 alone; another host shows it",
    r"this machine is not cgroup v1": "the property is of cgroup v1 alone; another host shows it",
    r"no .* controller on this machine": "the kernel or the machine does not offer the controller",
    r"the kernel (has no|does not|lacks)": "the kernel was built without it, or is older",
    r"the machine has no": "a second CPU, a NUMA node, or a device of the kind",
    r"needs (AppArmor|SELinux)": "only one of the two can be in force, and often neither is",
    r"the runtime has no `?features": "what is compared with features needs features",
    r"no resctrl": "the processor or the kernel does not offer Resource Director Technology",
}


def is_known_lack(judgement: Judgement) -> bool:
    """Whether it is known why this could not be shown; the programs of others give their own reasons."""
    if judgement.requirement.level is Level.TOOLS:
        return True
    return any(re.search(pattern, judgement.reason) for pattern in KNOWN_LACKS)
