"""config.md, Linux process, and config-linux.md: when and where the program runs."""

import os
from functools import partial

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("scheduling")
ANCHOR = "config.md#linux-process"
MEMORY = "config-linux.md#memory-policy"
PERSONALITY = "config-linux.md#personality"
PRIORITY_BITS = 13  # ioprio: the class stands above them
RESET_ON_FORK = 1


def need_real_time() -> None:
    grouped = os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
    need(not grouped, "the kernel does not let processes of new cgroups be real-time (RT_GROUP_SCHED)")


def scheduled(bench: Bench, scheduler: JsonObject, *, real_time: bool = False) -> JsonObject:
    """The report of a program under the scheduler; real-time policies may need a privilege that is not there."""
    container = bench.container({"/process/scheduler": scheduler})
    if real_time:
        need_real_time()
    return container.report()


@SUBJECT.must("other", ANCHOR, "scheduler sets SCHED_OTHER and its nice value.")
def other(bench: Bench) -> None:
    seen = scheduled(bench, {"policy": "SCHED_OTHER", "nice": 7})
    expect_equal((seen["policy"], seen["nice"]), (0, 7), "policy and nice value")


@SUBJECT.must("batch", ANCHOR, "scheduler sets SCHED_BATCH and its nice value.")
def batch(bench: Bench) -> None:
    seen = scheduled(bench, {"policy": "SCHED_BATCH", "nice": 5})
    expect_equal((seen["policy"], seen["nice"]), (3, 5), "policy and nice value")


@SUBJECT.must("nice-default", ANCHOR, "Without nice the value is 0.")
def nice_default(bench: Bench) -> None:
    seen = scheduled(bench, {"policy": "SCHED_BATCH"})
    expect_equal((seen["policy"], seen["nice"]), (3, 0), "policy and nice value")


@SUBJECT.must("idle", ANCHOR, "scheduler sets SCHED_IDLE.")
def idle(bench: Bench) -> None:
    expect_equal(scheduled(bench, {"policy": "SCHED_IDLE"})["policy"], 5, "policy")


@SUBJECT.must("reset-on-fork", ANCHOR, "The flag SCHED_FLAG_RESET_ON_FORK is set.")
def reset_on_fork(bench: Bench) -> None:
    seen = scheduled(bench, {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]})
    expect(seen["scheduler_flags"] & RESET_ON_FORK == RESET_ON_FORK, f"flags: {seen['scheduler_flags']}")


@SUBJECT.must("real-time", ANCHOR, "scheduler sets a real-time policy and its priority.")
def real_time(bench: Bench) -> None:
    for policy, number in (("SCHED_FIFO", 1), ("SCHED_RR", 2)):
        seen = scheduled(bench, {"policy": policy, "priority": 7}, real_time=True)
        expect_equal((seen["policy"], seen["priority"]), (number, 7), "policy and priority")


@SUBJECT.must("deadline", ANCHOR, "scheduler sets SCHED_DEADLINE with its three times.")
def deadline(bench: Bench) -> None:
    times = {"runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000}
    seen = scheduled(bench, {"policy": "SCHED_DEADLINE", **times}, real_time=True)
    expect_equal(seen["policy"], 6, "policy")
    expect_equal({name: seen[name] for name in times}, times, "times")


@SUBJECT.must("unknown-policy", "config.md#valid-values", "A policy that does not exist is an error.")
def unknown_policy(bench: Bench) -> None:
    bench.refused({"/process/scheduler": {"policy": "SCHED_CONFORMANCE"}})


@SUBJECT.must("unknown-scheduler-flag", "config.md#valid-values", "A flag that does not exist is an error.")
def unknown_scheduler_flag(bench: Bench) -> None:
    bench.refused({"/process/scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_CONFORMANCE"]}})


def io_priority(name: str, number: int, bench: Bench) -> None:
    seen = bench.look({"/process/ioPriority": {"class": f"IOPRIO_CLASS_{name}", "priority": 6}})
    level = 7 if name == "IDLE" else 6  # the kernel knows one level of idle only
    expect(
        seen["io_priority"]
        in (number << PRIORITY_BITS | 6, number << PRIORITY_BITS | level, number << PRIORITY_BITS),
        f"ioprio is {seen['io_priority']:#x}",
    )


for _number, _name in ((2, "BE"), (3, "IDLE")):
    SUBJECT.must(
        f"io-priority-{_name.lower()}", ANCHOR, f"ioPriority sets the class {_name} and the priority."
    )(partial(io_priority, _name, _number))


@SUBJECT.must(
    "io-priority-unknown", "config.md#valid-values", "A class of ioPriority that does not exist is an error."
)
def io_priority_unknown(bench: Bench) -> None:
    bench.refused({"/process/ioPriority": {"class": "IOPRIO_CLASS_CONFORMANCE", "priority": 0}})


@SUBJECT.must("io-priority-range", "config.md#valid-values", "A priority outside of 0 to 7 is an error.")
def io_priority_range(bench: Bench) -> None:
    bench.refused({"/process/ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}})


# Affinity of processes of `exec`.


def two_cpus() -> list[int]:
    cpus = sorted(os.sched_getaffinity(0))
    need(len(cpus) > 1, "the machine has no second CPU")
    return cpus


@SUBJECT.must(
    "exec-affinity", ANCHOR, "execCPUAffinity.final is the affinity of a process that `exec` starts."
)
def exec_affinity(bench: Bench) -> None:
    cpus = two_cpus()
    container = bench.running({"/process/execCPUAffinity": {"final": str(cpus[1])}})
    expect_equal(container.exec()["cpus"], 1 << cpus[1], "mask of CPUs")


@SUBJECT.must("exec-affinity-list", ANCHOR, "An affinity is a list of numbers and ranges.")
def exec_affinity_list(bench: Bench) -> None:
    cpus = two_cpus()
    written = f"{cpus[0]}-{cpus[1]}" if cpus[1] == cpus[0] + 1 else f"{cpus[0]},{cpus[1]}"
    container = bench.running({"/process/execCPUAffinity": {"initial": str(cpus[0]), "final": written}})
    expect_equal(container.exec()["cpus"], 1 << cpus[0] | 1 << cpus[1], "mask of CPUs")


@SUBJECT.must(
    "exec-affinity-not-init", ANCHOR, "execCPUAffinity does not hold for the container's first process."
)
def exec_affinity_not_init(bench: Bench) -> None:
    cpus = two_cpus()
    container = bench.running({"/process/execCPUAffinity": {"initial": str(cpus[0]), "final": str(cpus[0])}})
    expect(len(os.sched_getaffinity(container.pid())) > 1, "the container's process has but one CPU")


@SUBJECT.should(
    "exec-affinity-unset", ANCHOR, "Without `final` the kernel decides, after the cgroup is joined."
)
def exec_affinity_unset(bench: Bench) -> None:
    cpus = two_cpus()
    changes = {
        "/process/execCPUAffinity": {"initial": str(cpus[0])},
        "/linux/resources": {"cpu": {"cpus": f"{cpus[0]},{cpus[1]}"}},
    }
    container = bench.running(changes)
    mask = container.exec()["cpus"]
    expect(mask & ~(1 << cpus[0] | 1 << cpus[1]) == 0, f"the process may leave the cgroup's CPUs: {mask:#x}")


@SUBJECT.must(
    "exec-affinity-invalid", "config.md#valid-values", "An affinity that is no list of numbers is an error."
)
def exec_affinity_invalid(bench: Bench) -> None:
    container = bench.container({"/process/execCPUAffinity": {"final": "conformance"}}, "sleep:20")
    result = container.command("create", "--bundle", container.bundle, container.identifier)
    if result.returncode == 0:
        container.start()
        result = container.command("exec", container.identifier, "/probe")
    expect(result.returncode != 0, "neither create nor exec refused it")


@SUBJECT.callers("whole-machine", "Without a cpuset the program may use every CPU of the caller.")
def whole_machine(bench: Bench) -> None:
    wanted = sum(1 << cpu for cpu in os.sched_getaffinity(0) if cpu < 63)
    expect(bench.look({})["cpus"] & wanted == wanted, "the program may not use every CPU")


# Memory policies: the number of the kernel, and whether there must be nodes.
POLICIES = {
    "MPOL_DEFAULT": (0, False),
    "MPOL_PREFERRED": (1, True),
    "MPOL_BIND": (2, True),
    "MPOL_INTERLEAVE": (3, True),
    "MPOL_LOCAL": (4, False),
    "MPOL_PREFERRED_MANY": (5, True),
    "MPOL_WEIGHTED_INTERLEAVE": (6, True),
}
SINCE = {"MPOL_PREFERRED_MANY": (5, 15), "MPOL_WEIGHTED_INTERLEAVE": (6, 9)}


def need_nodes() -> None:
    need(os.path.isdir("/sys/devices/system/node/node0"), "the kernel has no NUMA nodes")


def memory_policy(mode: str, bench: Bench) -> None:
    need_nodes()
    version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    need(version >= SINCE.get(mode, (0, 0)), f"the kernel has no {mode}")
    number, has_nodes = POLICIES[mode]
    policy: JsonObject = {"mode": mode, "nodes": "0"} if has_nodes else {"mode": mode}
    seen = bench.look({"/linux/memoryPolicy": policy})
    expect_equal(seen["memory_policy"], number, f"policy ({mode} is {number})")
    if has_nodes:
        expect_equal(seen["memory_nodes"], 1, "mask of nodes")


for _mode in POLICIES:
    SUBJECT.must(
        "memory-" + _mode.removeprefix("MPOL_").lower().replace("_", "-"),
        MEMORY,
        f"memoryPolicy sets {_mode}.",
    )(partial(memory_policy, _mode))


@SUBJECT.must("memory-flags", MEMORY, "The flags of memoryPolicy are set.")
def memory_flags(bench: Bench) -> None:
    need_nodes()
    for flag, bit in (("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14)):
        seen = bench.look({"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}})
        expect_equal(seen["memory_policy"], 2 | bit, f"policy with {flag}")


@SUBJECT.must(
    "memory-unknown", "config.md#valid-values", "A memory policy or flag that does not exist is an error."
)
def memory_unknown(bench: Bench) -> None:
    bench.refused({"/linux/memoryPolicy": {"mode": "MPOL_CONFORMANCE"}})
    bench.refused(
        {"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_CONFORMANCE"]}}
    )


@SUBJECT.must(
    "memory-missing-node", "runtime.md#create", "A node that the machine does not have fails create."
)
def memory_missing_node(bench: Bench) -> None:
    need(not os.path.isdir("/sys/devices/system/node/node63"), "the machine has no node that is missing")
    bench.refused({"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "63"}})


@SUBJECT.must("personality", PERSONALITY, "personality sets the execution domain LINUX32.")
def personality(bench: Bench) -> None:
    seen = bench.look({"/linux/personality": {"domain": "LINUX32"}})
    expect_equal(seen["personality"] & 0xFF, 8, "domain (PER_LINUX32 is 8)")
    expect(not str(seen["machine"]).endswith("64"), f"uname shows {seen['machine']}")


@SUBJECT.must("personality-linux", PERSONALITY, "personality sets the execution domain LINUX.")
def personality_linux(bench: Bench) -> None:
    expect_equal(bench.look({"/linux/personality": {"domain": "LINUX"}})["personality"] & 0xFF, 0, "domain")


@SUBJECT.must(
    "personality-unknown",
    "config.md#valid-values",
    "A domain of personality that does not exist is an error.",
)
def personality_unknown(bench: Bench) -> None:
    bench.refused({"/linux/personality": {"domain": "CONFORMANCE"}})
