"""What planning may know about the host: read once by `pyruntime.host`, savable, so that a plan can be made
for another machine and a test can make one for any machine."""

from pyruntime.base.record import Record


class HostFacts(Record):
    """Facts about this machine and about the process that plans.

    `last_capability` is the highest number that the kernel knows; `user_id` and `group_id` are effective ids.
    `apparmor_confined`: a profile confines this process.  `resctrl` is where that file system is mounted; it is only
    asked for where the config has an intelRdt.
    """

    user_id: int = 0
    group_id: int = 0
    in_user_namespace: bool = False
    last_capability: int = 40
    apparmor: bool = False
    apparmor_confined: bool = False
    selinux: bool = False
    has_kcore: bool = True
    resctrl: str = ""

    @property
    def rootless(self) -> bool:
        """Whether the caller lacks privilege over the host: not root, or root of a user namespace only."""
        return self.user_id != 0 or self.in_user_namespace
