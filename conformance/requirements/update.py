"""`update`: limits of a running container that are changed."""

import json
from functools import partial

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.expect import expect, expect_equal
from conformance.host import is_unified
from conformance.requirement import Subject
from conformance.requirements.cgroups import MEBIBYTE, value_of

SUBJECT = Subject("update")

# `update`, one option or property after the other: what to say, and what then must have changed.

UPDATES: dict[str, tuple[JsonObject, tuple[str, ...], str, str, str, str, str]] = {
    "pids": ({"pids": {"limit": 31}}, ("--pids-limit", "31"), "pids", "pids.max", "31", "pids.max", "31"),
    "memory": (
        {"memory": {"limit": 128 * MEBIBYTE}},
        ("--memory", str(128 * MEBIBYTE)),
        "memory",
        "memory.limit_in_bytes",
        str(128 * MEBIBYTE),
        "memory.max",
        str(128 * MEBIBYTE),
    ),
    "quota": (
        {"cpu": {"quota": 30000, "period": 60000}},
        ("--cpu-quota", "30000", "--cpu-period", "60000"),
        "cpu",
        "cpu.cfs_quota_us",
        "30000",
        "cpu.max",
        "30000 60000",
    ),
    "cpus": (
        {"cpu": {"cpus": "0"}},
        ("--cpuset-cpus", "0"),
        "cpuset",
        "cpuset.cpus",
        "0",
        "cpuset.cpus",
        "0",
    ),
}


def updated(name: str, bench: Bench, *, by_options: bool) -> None:
    resources, options, controller, old, old_value, new, new_value = UPDATES[name]
    before = {"pids": {"limit": 23}, "memory": {"limit": 64 * MEBIBYTE}}
    container = bench.running({"/linux/resources": before})
    if by_options:
        result = container.command("update", *options, container.identifier)
    else:
        words = ("update", "--resources", "-", container.identifier)
        result = container.command(*words, stdin=json.dumps(resources))
    expect_equal(result.returncode, 0, f"exit status of `update` ({result.stderr.strip()[-200:]})")
    wanted = new_value if is_unified() else old_value
    expect_equal(value_of(container, controller, old, new), wanted, new if is_unified() else old)
    if name != "pids":
        expect_equal(
            value_of(container, "pids", "pids.max", "pids.max"), "23", "the limit that was not named"
        )


for _name in UPDATES:
    SUBJECT.callers(f"{_name}", f"`update --resources -` changes {_name}, and nothing else.")(
        partial(updated, _name, by_options=False)
    )
    SUBJECT.callers(f"{_name}-option", f"`update` changes {_name} by an option.")(
        partial(updated, _name, by_options=True)
    )


@SUBJECT.must(
    "check-before-update", "config-linux.md#memory", "checkBeforeUpdate refuses a limit below what is in use."
)
def check_before_update(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"memory": {"limit": 64 * MEBIBYTE}}})
    value_of(container, "memory", "memory.limit_in_bytes", "memory.max")
    resources = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
    words = ("update", "--resources", "-", container.identifier)
    result = container.command(*words, stdin=json.dumps(resources))
    expect_equal(container.status(), "running", "status afterwards")
    if not is_unified():
        return  # the kernel takes what is in use away as far as it can, and decides
    expect(result.returncode != 0, "`update` set a limit below what is in use")


@SUBJECT.callers("stopped", "`update` of a stopped container is an error.")
def update_stopped(bench: Bench) -> None:
    container = bench.running({}, "exit:0")
    container.wait_for("stopped")
    words = ("update", "--resources", "-", container.identifier)
    result = container.command(*words, stdin=json.dumps({"pids": {"limit": 31}}))
    expect(result.returncode != 0, "`update` of a stopped container succeeded")
