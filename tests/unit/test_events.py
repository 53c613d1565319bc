"""Statistics from files that look like those of a cgroup."""

import os
from pathlib import Path

import pytest

from pyruntime.base.errors import UsageError
from pyruntime.host.cgroup_statistics import read_statistics
from pyruntime.verbs.events import OomWatch, duration


def test_v2_statistics_have_runcs_form_and_the_pressure(tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 1\nthrottled_usec 7\n",
        "cpu.pressure": "some avg10=0.50 avg60=0.00 avg300=0.00 total=12\n",
        "memory.stat": "anon 5\nfile 6\n",
        "memory.current": "100\n",
        "memory.max": "1000\n",
        "memory.swap.max": "500\n",
        "memory.swap.current": "3\n",
        "memory.events": "max 2\noom_kill 1\n",
        "pids.current": "3\n",
        "pids.max": "max\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n",
        "hugetlb.2MB.max": "max\n",
        "hugetlb.2MB.rsvd.max": "max\n",
        "hugetlb.2MB.current": "0\n",
        "hugetlb.2MB.events": "max 9\n",
        "cpuset.cpus.effective": "0-1,3\n",
        "cpuset.mems.effective": "0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = read_statistics({"": str(tmp_path)})
    assert found["cpu"] == {
        "usage": {"total": 30000, "kernel": 10000, "user": 20000},
        "throttling": {"periods": 4, "throttledPeriods": 1, "throttledTime": 7000},
        "psi": {"some": {"avg10": 0.5, "avg60": 0.0, "avg300": 0.0, "total": 12}},
    }
    assert found["memory"] == {
        "cache": 6,
        "usage": {"limit": 1000, "usage": 100, "failcnt": 2},
        "swap": {"limit": 1500, "usage": 103, "failcnt": 0},
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": {"anon": 5, "file": 6},
    }
    assert found["pids"] == {"current": 3}
    assert found["cpuset"] == {"cpus": [0, 1, 3], "mems": [0]}
    assert found["hugetlb"] == {"2MB": {"failcnt": 9}}
    block_io = found["blkio"]
    assert isinstance(block_io, dict)
    assert block_io["ioServicedRecursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 1},
        {"major": 8, "minor": 0, "op": "Write", "value": 2},
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("100ms", 0.1), ("1m30s", 90.0), ("1.5h", 5400.0)]
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "1.2.3s", "5 s", "-5s", "."])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="parse error"):
        duration(text)


def test_the_file_of_a_cgroup_that_has_gone_shows_nothing_new(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom_kill 2\n")
    watch = OomWatch({"": str(tmp_path)})
    os.close(watch.descriptor)
    watch.descriptor = os.open(tmp_path, os.O_RDONLY)
    assert watch.count() == 0
    os.close(watch.descriptor)
