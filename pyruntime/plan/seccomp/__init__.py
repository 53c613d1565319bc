"""linux.seccomp as a request for a filter."""

from pyruntime.base.record import Record
from pyruntime.spec.linux import Seccomp


class FilterRequest(Record):
    profile: Seccomp


def plan_filter(seccomp: Seccomp) -> FilterRequest:
    return FilterRequest(profile=seccomp)
