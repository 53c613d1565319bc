"""What cgroups say about a container, in the form of runc's `events`.  Source: cgroup-v1/*.rst, cgroup-v2.rst."""

import os

_CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
    "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip
_UNLIMITED = (1 << 64) - 1
_NANOSECONDS_PER_TICK = 10_000_000  # USER_HZ is 100 on every architecture
_BLKIO = (
    ("ioServiceBytesRecursive", "bfq.io_service_bytes_recursive", "throttle.io_service_bytes_recursive"),
    ("ioServicedRecursive", "bfq.io_serviced_recursive", "throttle.io_serviced_recursive"),
    ("ioQueueRecursive", "io_queued_recursive", ""),
    ("ioServiceTimeRecursive", "io_service_time_recursive", ""),
    ("ioWaitTimeRecursive", "io_wait_time_recursive", ""),
    ("ioMergedRecursive", "io_merged_recursive", ""),
    ("ioTimeRecursive", "time_recursive", ""),
    ("sectorsRecursive", "sectors_recursive", ""),
)


def read_statistics(paths: dict[str, str]) -> dict[str, object]:
    """The `data` of a stats event; `paths`: controller ("" for v2) to directory.

    What a missing controller would say is left out.  Times are nanoseconds, sizes bytes.
    """
    if set(paths) == {""}:
        return _read_v2(paths[""])
    return _read_v1(paths)


def _read_v1(paths: dict[str, str]) -> dict[str, object]:
    return {
        "cpu": _cpu_v1(paths),
        "cpuset": _cpuset(paths.get("cpuset", ""), "") if "cpuset" in paths else {},
        "memory": _memory_v1(paths["memory"]) if "memory" in paths else {},
        "pids": _pids(paths["pids"]) if "pids" in paths else {},
        "blkio": _block_io_v1(paths["blkio"]) if "blkio" in paths else {},
        "hugetlb": _hugetlb(paths["hugetlb"], unified=False) if "hugetlb" in paths else {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _read_v2(directory: str) -> dict[str, object]:
    cpu = _flat(f"{directory}/cpu.stat")
    throttling = {
        name: cpu[key] * factor
        for name, key, factor in (
            ("periods", "nr_periods", 1),
            ("throttledPeriods", "nr_throttled", 1),
            ("throttledTime", "throttled_usec", 1000),
        )
        if cpu.get(key)
    }
    usage = {
        "total": cpu.get("usage_usec", 0) * 1000,
        "kernel": cpu.get("system_usec", 0) * 1000,
        "user": cpu.get("user_usec", 0) * 1000,
    }
    return {
        "cpu": {"usage": usage, "throttling": throttling, **_pressure(f"{directory}/cpu.pressure")},
        "cpuset": _cpuset(directory, ".effective")
        if os.path.exists(f"{directory}/cpuset.cpus.effective")
        else {},
        "memory": {**_memory_v2(directory), **_pressure(f"{directory}/memory.pressure")},
        "pids": _pids(directory),
        "blkio": {**_block_io_v2(directory), **_pressure(f"{directory}/io.pressure")},
        "hugetlb": _hugetlb(directory, unified=True),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu_v1(paths: dict[str, str]) -> dict[str, object]:
    account = paths.get("cpuacct", "")
    ticks = _flat(f"{account}/cpuacct.stat")
    usage: dict[str, object] = {"total": _number(f"{account}/cpuacct.usage")}
    per_cpu = [int(word) for word in _read(f"{account}/cpuacct.usage_percpu").split()]
    rows = [line.split() for line in _read(f"{account}/cpuacct.usage_all").splitlines()[1:]]
    if per_cpu:
        usage["percpu"] = per_cpu
    if rows:
        usage["percpu_kernel"] = [int(row[2]) for row in rows]
        usage["percpu_user"] = [int(row[1]) for row in rows]
    usage["kernel"] = ticks.get("system", 0) * _NANOSECONDS_PER_TICK
    usage["user"] = ticks.get("user", 0) * _NANOSECONDS_PER_TICK
    throttled = _flat(f"{paths.get('cpu', '')}/cpu.stat")
    throttling = {
        name: throttled[key]
        for name, key in (
            ("periods", "nr_periods"),
            ("throttledPeriods", "nr_throttled"),
            ("throttledTime", "throttled_time"),
        )
        if throttled.get(key)
    }
    return {"usage": usage, "throttling": throttling}


def _cpuset(directory: str, suffix: str) -> dict[str, object]:
    found: dict[str, object] = {"cpus": _list(_read(f"{directory}/cpuset.cpus{suffix}"))}
    flags = {name: _number(f"{directory}/cpuset.{name}") for name in _CPUSET_FLAGS} if not suffix else {}
    if flags:
        found["cpu_exclusive"] = flags.pop("cpu_exclusive")
    return {**found, "mems": _list(_read(f"{directory}/cpuset.mems{suffix}")), **flags}


def _memory_v1(directory: str) -> dict[str, object]:
    raw = _flat(f"{directory}/memory.stat")
    found: dict[str, object] = {"cache": raw["cache"]} if raw.get("cache") else {}
    for name, prefix in (
        ("usage", "memory."),
        ("swap", "memory.memsw."),
        ("kernel", "memory.kmem."),
        ("kernelTCP", "memory.kmem.tcp."),
    ):
        base = f"{directory}/{prefix}"
        if os.path.exists(f"{base}limit_in_bytes"):
            found[name] = _counter(
                _number(f"{base}limit_in_bytes"),
                _number(f"{base}usage_in_bytes"),
                _number(f"{base}max_usage_in_bytes"),
                _number(f"{base}failcnt"),
            )
    found["raw"] = raw
    return found


def _memory_v2(directory: str) -> dict[str, object]:
    raw = _flat(f"{directory}/memory.stat")
    if not raw:
        return {}
    found: dict[str, object] = {"cache": raw["file"]} if raw.get("file") else {}
    limit, usage = _number(f"{directory}/memory.max"), _number(f"{directory}/memory.current")
    # As by runc: swap counts memory plus swap, as it does in cgroup v1 and in config.json.
    swap_limit, swap = _number(f"{directory}/memory.swap.max"), _number(f"{directory}/memory.swap.current")
    swap_limit = swap_limit if _UNLIMITED in (limit, swap_limit) else swap_limit + limit
    failures = _flat(f"{directory}/memory.events").get("max", 0)
    found["usage"] = _counter(limit, usage, _number(f"{directory}/memory.peak"), failures)
    found["swap"] = _counter(swap_limit, usage + swap, 0, 0)
    found["kernel"], found["kernelTCP"] = _counter(0, 0, 0, 0), _counter(0, 0, 0, 0)
    found["raw"] = raw
    return found


def _counter(limit: int, usage: int, greatest: int, failures: int) -> dict[str, int]:
    found = {"limit": limit, **({"usage": usage} if usage else {}), **({"max": greatest} if greatest else {})}
    return {**found, "failcnt": failures}


def _pids(directory: str) -> dict[str, int]:
    limit = _read(f"{directory}/pids.max").strip()
    found = {"current": _number(f"{directory}/pids.current")}
    if limit.isdigit() and limit != "0":
        found["limit"] = int(limit)
    return {name: value for name, value in found.items() if value}


def _block_io_v1(directory: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, *files in _BLKIO:
        for file in filter(None, files):
            entries = [_operation(line.split()) for line in _read(f"{directory}/blkio.{file}").splitlines()]
            entries = [entry for entry in entries if entry]
            if entries:
                found[name] = entries
                break
    return found


def _operation(words: list[str]) -> dict[str, object]:
    """One line "MAJOR:MINOR [OP] VALUE"; nothing for the line of the total."""
    if len(words) < 2 or ":" not in words[0]:
        return {}
    major, _, minor = words[0].partition(":")
    name = {"op": words[1]} if len(words) > 2 else {}
    return {"major": int(major), "minor": int(minor), **name, "value": int(words[-1])}


def _block_io_v2(directory: str) -> dict[str, object]:
    bytes_moved: list[dict[str, object]] = []
    operations: list[dict[str, object]] = []
    names = {
        "rbytes": ("Read", bytes_moved),
        "wbytes": ("Write", bytes_moved),
        "rios": ("Read", operations),
        "wios": ("Write", operations),
    }
    for line in _read(f"{directory}/io.stat").splitlines():
        device, *counters = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        for counter in counters:
            key, _, value = counter.partition("=")
            if key in names:
                name, entries = names[key]
                entries.append({"major": int(major), "minor": int(minor), "op": name, "value": int(value)})
    found: dict[str, object] = {"ioServiceBytesRecursive": bytes_moved, "ioServicedRecursive": operations}
    return {name: entries for name, entries in found.items() if entries}


def _hugetlb(directory: str, *, unified: bool) -> dict[str, object]:
    end = ".max" if unified else ".limit_in_bytes"
    found: dict[str, object] = {}
    for file in sorted(_names(directory)):
        parts = file.removesuffix(end).split(".")
        if not file.startswith("hugetlb.") or not file.endswith(end) or len(parts) != 2:
            continue
        base = f"{directory}/hugetlb.{parts[1]}"
        usage = _number(f"{base}.current" if unified else f"{base}.usage_in_bytes")
        greatest = 0 if unified else _number(f"{base}.max_usage_in_bytes")
        failures = _flat(f"{base}.events").get("max", 0) if unified else _number(f"{base}.failcnt")
        counter = _counter(0, usage, greatest, failures)
        del counter["limit"]
        found[parts[1]] = counter
    return found


def _pressure(file: str) -> dict[str, object]:
    """Pressure stall information as {"psi": {"some": ..., "full": ...}}; nothing if the kernel has none."""
    found: dict[str, object] = {}
    for line in _read(file).splitlines():
        kind, *averages = line.split()
        pairs = (average.split("=") for average in averages)
        found[kind] = {name: int(value) if name == "total" else float(value) for name, value in pairs}
    return {"psi": found} if found else {}


def _list(text: str) -> list[int]:
    """The numbers of a list such as "0-2,7"."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def _flat(file: str) -> dict[str, int]:
    """A file of lines "NAME NUMBER", by name."""
    pairs = (line.split() for line in _read(file).splitlines())
    found = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    return {name: found[name] for name in sorted(found)}


def _number(file: str) -> int:
    text = _read(file).strip()
    return _UNLIMITED if text == "max" else int(text or 0)


def _read(file: str) -> str:
    try:
        with open(file, "rb", buffering=0) as source:
            return source.readall().decode()
    except OSError:
        # No such controller here, or the device behind it cannot say.
        return ""


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
