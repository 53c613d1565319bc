"""Times are written as the standard library writes them."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyruntime.base.timestamp import now, now_precisely, utc


@given(st.integers(0, 253_402_300_799))
def test_any_second_until_the_year_9999(seconds: int) -> None:
    assert utc(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize("day", ["2000-02-29", "2024-02-29", "2023-12-31", "2100-03-01", "1970-01-01"])
def test_days_that_are_easily_wrong(day: str) -> None:
    moment = datetime.fromisoformat(f"{day}T23:59:59+00:00")
    assert utc(int(moment.timestamp())) == f"{day}T23:59:59"


def test_now_is_now() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= datetime.fromisoformat(now()) <= datetime.now(UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", now_precisely())
