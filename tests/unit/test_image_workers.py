"""Work in several processes: all of it is done, in the order that was asked for, and a failure ends it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import pytest

from oci_image.errors import ImageError
from oci_image.layers.workers import deal, run_all, run_balanced


def job(number: int) -> tuple[int, int]:
    return number, os.getpid()


def refuse(number: int) -> None:
    raise ImageError(f"job {number}", where="there", hint="that")


@pytest.mark.parametrize("costs", [[1, 1, 1, 1, 1, 1, 1], [9, 1, 1, 1, 1, 1, 9], [0] * 7])
def test_results_are_in_order_and_few_processes_made_them(costs: list[int]) -> None:
    jobs = [functools.partial(job, number) for number in range(7)]
    for processes in (1, 3, 20):
        found = run_balanced(jobs, costs, processes)
        assert [number for number, _ in found] == list(range(7))
        assert len({pid for _, pid in found}) <= processes


def test_work_is_dealt_out_by_what_it_costs() -> None:
    assert deal([9, 1, 1, 1, 1, 1, 9], 2) == [[0, 1, 3, 5], [6, 2, 4]]
    assert deal([5, 5, 5], 20) == [[0], [1], [2]]
    assert deal([0, 0], 1) == [[0, 1]]


def test_no_jobs_are_no_work() -> None:
    assert run_balanced([], [], 4) == []
    assert run_all([], 4) == []


def test_the_error_of_a_worker_is_raised_whole() -> None:
    jobs: list[Callable[[], object]] = [
        functools.partial(job, 1), functools.partial(refuse, 2), functools.partial(job, 3),
    ]  # fmt: skip
    for costs in ([1, 1, 1], [5, 1, 1]):
        with pytest.raises(ImageError, match="job 2") as caught:
            run_balanced(jobs, costs, 2)
        assert (caught.value.where, caught.value.hint) == ("there", "that")


def niceness() -> int:
    return os.nice(0)


def test_who_has_much_less_to_do_steps_back() -> None:
    own = os.nice(0)
    jobs = [niceness] * 4
    assert run_balanced(jobs, [9, 5, 4, 1], 4) == [own, own, own + 3, own + 3]
    assert run_balanced(jobs, [9, 1, 1, 1], 1) == [own] * 4  # in place
    assert os.nice(0) == own


def test_results_are_taken_in_this_process() -> None:
    jobs = [functools.partial(job, number) for number in range(3)]
    for processes in (1, 3):
        found = run_balanced(jobs, [1, 1, 1], processes, take=lambda answer: (answer[0], os.getpid()))
        assert found == [(0, os.getpid()), (1, os.getpid()), (2, os.getpid())]
