"""The parent's lane of a launch: what happens on the host while the executor sets the container up.

executor                               parent
--------                               ------
begins with what is known first        plans the rest
prepares mounts                        makes the cgroup of v2, CLONE_CGROUP_READY
clones, or waits                       makes the cgroups of v1
waits for CGROUPS_READY           <--  tells it
joins them; CGROUPS_JOINED        -->  if that is the container's init: as below
clones                            -->  CLONED: notes the pid
MAPS_WANTED, waits                -->  writes the id maps, MAPS_WRITTEN
clones the container's init       -->  CLONED: saves pid and start time, applies the limits meanwhile
mounts; HOOKS_WANTED, waits       -->  prestart and createRuntime hooks, HOOKS_DONE
pivots, ...; READY, waits         -->  rlimits in a user namespace, PROCEED
identity, seccomp; closes its end -->  end of the reports: the process is in place

Orders that nothing has to be done for are given in advance: the executor then finds them when it comes to wait.
"""

import os

from pyruntime.base.errors import ExpectedError, StepError, errno_text
from pyruntime.execute.id_maps import write_id_maps
from pyruntime.execute.session import CLONED, FAILED, NOTICE, REACHED, Report, Session
from pyruntime.plan.launch import LaunchPlan
from pyruntime.plan.operations import (
    CGROUPS_JOINED,
    CGROUPS_READY,
    CLONE_CGROUP_READY,
    HOOKS_DONE,
    HOOKS_WANTED,
    MAPS_WANTED,
    MAPS_WRITTEN,
    PROCEED,
    READY,
    Await,
    Clone,
    LoadSeccomp,
    Operation,
    SetRlimit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OUT_OF_MEMORY = "container init was OOM-killed (memory limit too low?)"


class ParentSteps:
    """What the parent does at each point of a launch; every function may raise ExpectedError.

    `cgroups`: make them (the executor's pid, what is told of each that is there).  `started`: the last process exists
    (its pid).  `hooks`: run those of the host.  `ready`: the process is set up (its pid); with `holds_back` it goes on
    only after that.  `listener`: it is about to load a filter with notifications (its pid), take over the descriptor.
    `notice`: the executor tolerated something.
    """

    def __init__(
        self,
        *,
        cgroups: "Callable[[int, Callable[[str], None]], None] | None" = None,
        started: "Callable[[int], None] | None" = None,
        hooks: "Callable[[int], None] | None" = None,
        ready: "Callable[[int], None] | None" = None,
        holds_back: bool = False,
        listener: "Callable[[int], None] | None" = None,
        notice: "Callable[[str], None] | None" = None,
    ) -> None:
        self.cgroups = cgroups
        self.started = started
        self.hooks = hooks
        self.ready = ready
        self.holds_back = holds_back
        self.listener = listener
        self.notice = notice


def with_filter(operations: tuple[Operation, ...], program: bytes, flags: int) -> tuple[Operation, ...]:
    """The operations with the compiled seccomp filter put in its place."""
    return tuple(
        operation.replace(program=program, flags=flags) if isinstance(operation, LoadSeccomp) else operation
        for operation in operations
    )


def launch(session: Session, plan: LaunchPlan, steps: ParentSteps, *, user_id: int) -> int:
    """Follow an executor until its process is in place; returns the pid of that process.

    Raises:
        ExpectedError: a step failed on either side.  Every process of the session is dead by then.
    """
    try:
        return _Follower(session, plan, steps, user_id).follow()
    except BaseException:
        session.kill()
        raise


class _Follower:
    """The state of one launch: how many clones are still to come, and whether the process is set up."""

    def __init__(self, session: Session, plan: LaunchPlan, steps: ParentSteps, user_id: int) -> None:
        self.session = session
        self.plan = plan
        self.steps = steps
        self.user_id = user_id
        self.clones_left = list(map(type, session.operations)).count(Clone)
        self.awaited = [
            operation.rendezvous for operation in session.operations if isinstance(operation, Await)
        ]
        self.is_ready = False

    def follow(self) -> int:
        if self.steps.cgroups is not None:
            self.steps.cgroups(self.session.pid, self._made)
        self._order(CGROUPS_READY)
        if self.steps.started is None:
            self._order_in_advance()
        while True:
            report = self.session.next_report()
            if report is None:
                break
            self._act(report)
        if not self.is_ready:
            raise self._died()
        self.session.reap_helpers()
        self.session.close()
        return self.session.pid

    def _act(self, report: Report) -> None:
        if report.kind == FAILED:
            raise self.session.failure(report)
        if report.kind == NOTICE and self.steps.notice is not None:
            self.steps.notice(report.text)
        elif report.kind == CLONED:
            self.clones_left -= 1
            if self.clones_left == 0 and not self.plan.joins_late:
                self._start()
        elif report.kind == REACHED:
            self._answer(report.value)

    def _made(self, directory: str) -> None:
        if directory == self.plan.cgroup.clone_directory:
            self._order(CLONE_CGROUP_READY)

    def _start(self) -> None:
        """The last process exists, and is in its cgroups."""
        if self.steps.started is None:
            return
        try:
            self.steps.started(self.session.pid)
        except ExpectedError:
            # systemd removes the cgroup of what the first limit has killed, and no other can be set any more.
            if self.session.has_ended():
                raise self._died() from None
            raise
        self._order_in_advance()

    def _order(self, rendezvous: int) -> None:
        """Give an order, unless this plan does not wait for it or it was given in advance."""
        if rendezvous in self.awaited:
            self.awaited.remove(rendezvous)
            self.session.order(rendezvous)

    def _order_in_advance(self) -> None:
        """Give the orders that come next as far as nothing is to be done for them."""
        if self.awaited[:1] == [HOOKS_DONE] and self.steps.hooks is None:
            self._order(HOOKS_DONE)
        waits_for_us = self.plan.rlimits or self.steps.listener is not None or self.steps.holds_back
        if self.awaited == [PROCEED] and not waits_for_us:
            self._order(PROCEED)

    def _answer(self, rendezvous: int) -> None:
        pid = self.session.pid
        if rendezvous == CGROUPS_JOINED:
            self._start()
        elif rendezvous == MAPS_WANTED and self.plan.id_maps is not None:
            write_id_maps(pid, self.plan.id_maps, user_id=self.user_id)
            self._order(MAPS_WRITTEN)
        elif rendezvous == HOOKS_WANTED:
            if self.steps.hooks is not None:
                self.steps.hooks(pid)
            self._order(HOOKS_DONE)
        elif rendezvous == READY:
            for limit in self.plan.rlimits:
                _apply_rlimit(pid, limit)
            if self.steps.ready is not None:
                self.steps.ready(pid)
            self.is_ready = True
            self._order(PROCEED)
            # Here and not later: the next system call may already wait for an answer of the listener's owner.
            if self.steps.listener is not None:
                self.steps.listener(pid)

    def _died(self) -> ExpectedError:
        status = self.session.wait_ended()
        if status >= 0 and os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9:
            hint = "raise linux.resources.memory.limit: setting the container up needs about 1 MB"
            return StepError(_OUT_OF_MEMORY, where="/linux/resources/memory/limit", hint=hint)
        code = os.waitstatus_to_exitcode(status) if status >= 0 else "unknown"
        return StepError(f"unable to start container process: init ended early (status {code})")


def _apply_rlimit(pid: int, limit: SetRlimit) -> None:
    """prlimit(2) from outside: the process itself may have lost the right to raise its hard limits."""
    import resource

    try:
        resource.prlimit(pid, limit.resource, (_signed(limit.soft), _signed(limit.hard)))
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or 22
        raise StepError(
            f"unable to start container process: {limit.describe()}: prlimit: {errno_text(number)}",
            where=limit.origin,
            hint="soft must not exceed hard, and raising hard needs CAP_SYS_RESOURCE on the host",
            call="prlimit",
            errno=number,
        ) from None


def _signed(value: int) -> int:
    """A limit as the resource module takes it: numbers from 2**63 on are negative, RLIM_INFINITY is -1."""
    return value - (1 << 64) if value >= 1 << 63 else value
