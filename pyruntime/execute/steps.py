"""Plans that end by themselves: the executor carries them out and leaves no process behind."""

from pyruntime.execute.session import FAILED, Session
from pyruntime.plan.operations import Operation


def run_to_end(operations: tuple[Operation, ...], descriptors: dict[int, int] | None = None) -> None:
    """Carry out a plan that ends by itself; `descriptors` as those of a `Session`.

    Raises:
        StepError: a step failed.
    """
    session = Session(operations, first_private=3, descriptors=descriptors or {})
    try:
        while (report := session.next_report()) is not None:
            if report.kind == FAILED:
                raise session.failure(report)
    except BaseException:
        session.kill()
        raise
    session.reap_helpers()
    session.wait_ended()
    session.close()
