"""config.md, Linux process, and config-linux.md: when and where the program runs."""

import os

from conformance.bench import Bench
from conformance.container import report_of
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("scheduling")
ANCHOR = "config.md#linux-process"
BEST_EFFORT = 2 << 13  # ioprio: the class stands above 13 bits of priority


@SUBJECT.must("batch", ANCHOR, "scheduler sets policy and nice value.")
def batch(bench: Bench) -> None:
    seen = bench.look({"/process/scheduler": {"policy": "SCHED_BATCH", "nice": 5}})
    expect_equal((seen["policy"], seen["nice"]), (3, 5), "policy and nice value")


@SUBJECT.must("real-time", ANCHOR, "scheduler sets a real-time policy and its priority.")
def real_time(bench: Bench) -> None:
    grouped = os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
    need(not grouped, "the kernel does not let processes of new cgroups be real-time (RT_GROUP_SCHED)")
    seen = bench.look({"/process/scheduler": {"policy": "SCHED_RR", "priority": 7}})
    expect_equal((seen["policy"], seen["priority"]), (2, 7), "policy and priority")


@SUBJECT.must("io-priority", ANCHOR, "ioPriority sets the class and the priority of input and output.")
def io_priority(bench: Bench) -> None:
    seen = bench.look({"/process/ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}})
    expect_equal(seen["io_priority"], BEST_EFFORT | 6, "ioprio")


@SUBJECT.must(
    "exec-affinity", ANCHOR, "execCPUAffinity.final is the affinity of a process that `exec` starts."
)
def exec_affinity(bench: Bench) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    need(len(cpus) > 1, "the machine has no second CPU")
    container = bench.running({"/process/execCPUAffinity": {"final": str(cpus[1])}})
    seen = exec_report(bench, container.identifier)
    expect_equal(seen["cpus"], 1 << cpus[1], "mask of CPUs")


@SUBJECT.must(
    "memory-policy", "config-linux.md#memory-policy", "memoryPolicy sets the policy of the process."
)
def memory_policy(bench: Bench) -> None:
    need(os.path.isdir("/sys/devices/system/node/node0"), "the kernel has no NUMA nodes")
    seen = bench.look({"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}})
    expect_equal(seen["memory_policy"], 2, "policy (MPOL_BIND is 2)")


@SUBJECT.must("personality", "config-linux.md#personality", "personality sets the execution domain.")
def personality(bench: Bench) -> None:
    seen = bench.look({"/linux/personality": {"domain": "LINUX32"}})
    expect_equal(seen["personality"] & 0xFF, 8, "domain (PER_LINUX32 is 8)")


@SUBJECT.callers("whole-machine", "Without a cpuset the program may use every CPU of the caller.")
def whole_machine(bench: Bench) -> None:
    wanted = sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 63)
    expect(bench.look({})["cpus"] & wanted == wanted, "the program may not use every CPU")


def exec_report(bench: Bench, identifier: str) -> dict[str, int]:
    return report_of(bench.command("exec", identifier, "/probe"), "exec")
