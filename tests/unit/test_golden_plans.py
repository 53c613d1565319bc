"""Whole plans as text, so that a change of a plan shows in review.

`tests/golden/*.json` are whole configs; each file in `tests/golden/plans` names only what differs from BASE, and for
which machine and command the plan is: `config`, `facts`, `layout` (v1, hybrid, v2, none), `options`, `exec`.

After a change that is meant: UPDATE_GOLDEN=1 pytest tests/unit/test_golden_plans.py
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.plan.cgroup import CgroupPlan, plan_cgroup
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import LaunchPlan, plan_create, plan_exec
from pyruntime.plan.options import LaunchOptions
from pyruntime.spec.config import Config
from pyruntime.spec.load import decode_config
from pyruntime.spec.rules import check_rules
from pyruntime.verbs.explain import plan_lines

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CONTROLLERS = (
    ("memory",),
    ("cpu", "cpuacct"),
    ("cpuset",),
    ("pids",),
    ("blkio",),
    ("hugetlb",),
    ("devices",),
)
NETWORK = ("net_cls", "net_prio")
V2 = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
BASE = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}


def version_1(*, hybrid: bool) -> CgroupLayout:
    mounts, own = "", ""
    for number, names in enumerate((*CONTROLLERS, NETWORK), 1):
        name = ",".join(names)
        mounts += f"{30 + number} 20 0:{number} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
        own += f"{number}:{name}:/user.slice\n"
    if hybrid:
        mounts += "50 20 0:50 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        own += "0::/user.slice/session\n"
    return parse_cgroup_layout(mounts, own)


LAYOUTS = {
    "v1": version_1(hybrid=False),
    "hybrid": version_1(hybrid=True),
    "v2": parse_cgroup_layout(V2, "0::/user.slice/session\n"),
    "none": CgroupLayout(),
}


def merged(base: Any, change: Any) -> Any:
    """A document in which objects are merged and everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def compare(plan: LaunchPlan, golden: Path) -> None:
    lines = [f"{lane} {step}  {does}  {origin}".rstrip() for lane, step, does, origin, _ in plan_lines(plan)]
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def read(document: Any) -> Config:
    config = decode_config(json.dumps(document).encode())
    check_rules(config)
    return config


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_the_plan_of_a_whole_config_is_the_golden_one(path: Path) -> None:
    options = LaunchOptions(fifo_fd=35, failure_fd=36, console_fd=37)
    config = read(json.loads(path.read_text()))
    plan = plan_create(config, "box", "/bundle", HostFacts(), LAYOUTS["v2"], options)
    compare(plan, path.with_suffix(".plan.txt"))


@pytest.mark.parametrize("path", sorted((GOLDEN / "plans").glob("*.json")), ids=lambda path: path.stem)
def test_the_plan_is_the_golden_one(path: Path) -> None:
    case = json.loads(path.read_text())
    config = read(merged(BASE, case.get("config", {})))
    facts, layout = HostFacts(**case.get("facts", {})), LAYOUTS[case.get("layout", "v2")]
    options = LaunchOptions(**{"fifo_fd": 35, "failure_fd": 36, **case.get("options", {})})
    if "exec" not in case:
        plan = plan_create(config, "box", "/bundle", facts, layout, options)
    else:
        assert config.process is not None
        made = plan_cgroup(config, layout, "box", rootless=False)
        cgroup = CgroupPlan(join_files=made.join_files, clone_directory=made.clone_directory)
        namespaces = case["exec"]["namespaces"]
        plan = plan_exec(config, config.process, "box", namespaces, facts, cgroup, options)
    compare(plan, path.with_name(f"{path.stem}.plan.txt"))


def test_no_golden_plan_is_left_of_a_case_that_is_gone() -> None:
    plans = {path.name.removesuffix(".plan.txt") for path in GOLDEN.rglob("*.plan.txt")}
    assert plans == {path.stem for path in [*GOLDEN.glob("*.json"), *(GOLDEN / "plans").glob("*.json")]}
