"""Whole plans as text, so that a change of a plan shows in review.

After a change that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_golden_plans.py
"""

import os
from pathlib import Path

import pytest

from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import plan_create
from pyruntime.plan.options import LaunchOptions
from pyruntime.spec.load import decode_config
from pyruntime.spec.rules import check_rules
from pyruntime.verbs.explain import plan_lines

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LAYOUT = parse_cgroup_layout(
    "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice/session\n"
)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_the_plan_is_the_golden_one(path: Path) -> None:
    config = decode_config(path.read_bytes())
    check_rules(config)
    options = LaunchOptions(fifo_fd=35, failure_fd=36, console_fd=37)
    plan = plan_create(config, "box", "/bundle", HostFacts(), LAYOUT, options)
    lines = [f"{lane} {step}  {does}  {origin}".rstrip() for lane, step, does, origin, _ in plan_lines(plan)]
    text = "\n".join(lines) + "\n"
    golden = path.with_suffix(".plan.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
