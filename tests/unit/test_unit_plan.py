"""The systemd driver: what unit a container gets with which properties, on machines that only these texts describe."""

from typing import Any

import pytest

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError
from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.plan.cgroup import CgroupPlan, plan_cgroup
from pyruntime.plan.cgroup.devices import device_rules
from pyruntime.plan.cgroup.gvariant import parse_gvariant
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.cgroup.operations import INFINITY, MakeCgroup, SetUnitProperties, StartUnit
from pyruntime.plan.cgroup.unit import expand_slice
from pyruntime.plan.cgroup.unit_limits import unit_devices, unit_limits
from pyruntime.spec.config import Config
from pyruntime.spec.linux import Resources

V1 = parse_cgroup_layout(
    "30 20 0:26 / /cg/memory rw - cgroup cgroup rw,memory\n"
    "31 20 0:27 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
    "32 20 0:28 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n",
    "4:memory:/own\n3:cpuset:/\n2:name=systemd:/own\n",
)
V2 = parse_cgroup_layout("30 20 0:26 / /cg rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user/own\n")
USER = "/user.slice/user-1000.slice/user@1000.service"


def plan(layout: CgroupLayout, path: str = "", *, rootless: bool = False, **document: Any) -> CgroupPlan:
    document = {"ociVersion": "1.3.0", "linux": {"cgroupsPath": path}, **document}
    config = decode(Config, document)
    return plan_cgroup(config, layout, "box", rootless=rootless, cgroup_manager="systemd")


def start_of(found: CgroupPlan) -> StartUnit:
    (start,) = [step for step in found.make if isinstance(step, StartUnit)]
    assert found.make[0] is start
    return start


def properties(found: CgroupPlan) -> dict[str, object]:
    return {each.name: each.value for each in start_of(found).properties}


def limits(resources: dict[str, Any], *, unified: bool = True) -> dict[str, object]:
    return {each.name: each.value for each in unit_limits(decode(Resources, resources), unified=unified)}


@pytest.mark.parametrize(
    ("path", "unit", "parent", "directory"),
    [
        ("", "pyruntime-box.scope", "system.slice", "/cg/system.slice/pyruntime-box.scope"),
        ("a-b.slice:cri:c1", "cri-c1.scope", "a-b.slice", "/cg/a.slice/a-b.slice/cri-c1.scope"),
        ("-.slice:p:n", "p-n.scope", "-.slice", "/cg/p-n.scope"),
        (":p:x-y.slice", "x-y.slice", "system.slice", "/cg/x.slice/x-y.slice"),
    ],
)
def test_the_path_names_slice_and_unit(path: str, unit: str, parent: str, directory: str) -> None:
    found = plan(V2, path)
    assert (found.unit, found.paths[""], found.directories) == (unit, directory, (directory,))
    said = properties(found)
    assert said.get("Slice", said.get("Wants")) in (parent, [parent])


@pytest.mark.parametrize(
    "path", ["/pods/web", "a:b", "a.slice:b:c:d", "a:b:c", "a/b.slice:p:n", "a.slice:p:n+1"]
)
def test_other_paths_are_refused_at_their_place(path: str) -> None:
    with pytest.raises(SpecError) as failure:
        plan(V2, path)
    assert failure.value.where == "/linux/cgroupsPath"
    assert failure.value.hint


@pytest.mark.parametrize("name", ["a", "a--b.slice", "-a.slice", "a-.slice", ".slice", "a/b.slice"])
def test_these_are_not_slices(name: str) -> None:
    with pytest.raises(SpecError, match="invalid slice name"):
        expand_slice(name)


def test_a_scope_is_delegated_accounted_for_and_has_the_executor() -> None:
    start = start_of(plan(V2))
    said = properties(plan(V2))
    assert start.with_process
    assert said["Delegate"] is True
    assert said["DefaultDependencies"] is False
    assert {name for name, value in said.items() if name.endswith("Accounting") and value is True} == {
        "CPUAccounting",
        "IOAccounting",
        "MemoryAccounting",
        "TasksAccounting",
    }
    assert said["DevicePolicy"] == "strict", "what no rule allows is denied"


def test_a_slice_has_no_processes_of_its_own_and_cannot_be_delegated() -> None:
    found = plan(V2, "::x.slice")
    assert not start_of(found).with_process
    assert "Delegate" not in properties(found)
    assert found.clone_directory == "/cg/x.slice"


def test_the_executor_joins_what_systemd_does_not_put_it_into() -> None:
    found = plan(V1, "a.slice:p:n")
    assert found.join_files == ("/cg/memory/a.slice/p-n.scope/tasks", "/cg/cpuset/a.slice/p-n.scope/tasks")
    assert [step.in_use for step in found.make if isinstance(step, MakeCgroup)] == [True, True, True]
    assert found.paths["name=systemd"] == "/cg/systemd/a.slice/p-n.scope"


def test_without_root_it_is_the_users_systemd_below_its_service() -> None:
    found = plan(V2.replace(systemd_path=USER), rootless=True, linux={"resources": {"pids": {"limit": 5}}})
    assert found.paths[""] == f"/cg{USER}/user.slice/pyruntime-box.scope"
    assert found.unit_of_user
    assert all(
        step.of_user
        for step in (*found.make, *found.limits)
        if isinstance(step, StartUnit | SetUnitProperties)
    )
    assert found.device_program == b""


def test_the_users_systemd_needs_cgroup_v2() -> None:
    with pytest.raises(SpecError, match="cgroup v2"):
        plan(V1, rootless=True)


def test_a_sub_cgroup_is_the_containers_cgroup() -> None:
    annotations = {"run.oci.systemd.subgroup": "container"}
    found = plan(V2, annotations=annotations)
    assert found.paths[""] == "/cg/system.slice/pyruntime-box.scope/container"
    assert start_of(found).sub_cgroup == found.clone_directory == found.paths[""]
    with pytest.raises(SpecError, match="sub-cgroup"):
        plan(V2, annotations={"run.oci.systemd.subgroup": "../other"})


def test_limits_go_to_systemd_and_then_to_the_files_because_systemd_rounds() -> None:
    resources = {"cpu": {"quota": 12345, "period": 50000}, "pids": {"limit": 7}}
    found = plan(V2, linux={"resources": resources})
    assert isinstance(found.limits[0], SetUnitProperties)
    assert [each.describe() for each in found.limits[1:]] == [
        "cgroup cpu.max = 12345 50000",
        "cgroup pids.max = 7",
    ]
    assert all(each.origin.startswith("/linux/resources/") for each in found.limits[0].properties)
    assert ("systemd property TasksMax = 7", "/linux/resources/pids/limit") in found.limits[0].lines()


def test_limits_of_v2() -> None:
    assert limits(
        {
            "memory": {"limit": 100, "swap": 250, "reservation": 50},
            "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "cpus": "0-1,8", "mems": "0"},
            "pids": {"limit": 0},
            "blockIO": {
                "weight": 200,
                "throttleReadBpsDevice": [
                    {"major": 8, "minor": 0, "rate": 7},
                    {"major": 8, "minor": 16, "rate": 0},
                ],
            },
        }
    ) == {
        "MemoryMax": 100,
        "MemorySwapMax": 150,
        "MemoryLow": 50,
        "CPUWeight": 100,
        "CPUQuotaPeriodUSec": 50000,
        "CPUQuotaPerSecUSec": 250000,  # 24.69 percent of a second, rounded up to whole ones
        "AllowedCPUs": b"\x03\x01",
        "AllowedMemoryNodes": b"\x01",
        "TasksMax": 1,
        "IOWeight": 1920,
        "IOReadBandwidthMax": [("/dev/block/8:0", 7), ("/dev/block/8:16", INFINITY)],
    }


def test_limits_of_v1() -> None:
    resources = {"memory": {"limit": 100, "swap": 250, "reservation": 5}, "cpu": {"shares": 512}}
    assert limits({**resources, "blockIO": {"weight": 200}, "unified": {}}, unified=False) == {
        "MemoryLimit": 100,
        "CPUShares": 512,
        "BlockIOWeight": 200,
    }


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"memory": {"limit": 5, "swap": -1}}, {"MemoryMax": 5, "MemorySwapMax": INFINITY}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY}),
        ({"cpu": {"quota": 20000}}, {"CPUQuotaPerSecUSec": 200000}),
        ({"cpu": {"idle": 1, "shares": 1024}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0, "shares": 1024}}, {"CPUWeight": 100}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
    ],
)
def test_special_values(resources: dict[str, Any], said: dict[str, object]) -> None:
    assert limits(resources) == said


def test_files_named_by_unified_are_known_to_systemd_too_and_count_last() -> None:
    unified = {
        "memory.max": "max",
        "memory.high": "9",
        "memory.min": "1",
        "memory.swap.max": "0",
        "pids.max": "3",
        "cpu.max": "50000 200000",
        "cpu.weight": "7",
        "cpuset.cpus": "1",
        "memory.oom.group": "1",
        "hugetlb.2MB.max": "0",
    }
    assert limits({"memory": {"limit": 100}, "unified": unified}) == {
        "MemoryMax": INFINITY,
        "MemoryHigh": 9,
        "MemoryMin": 1,
        "MemorySwapMax": 0,
        "TasksMax": 3,
        "CPUQuotaPeriodUSec": 200000,
        "CPUQuotaPerSecUSec": 250000,
        "CPUWeight": 7,
        "AllowedCPUs": b"\x02",
    }


ALLOW_ALL = {"allow": True, "access": "rwm"}
DENY_ALL = {"allow": False, "access": "rwm"}
ONE = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}


def devices(*rules: dict[str, Any], exact_elsewhere: bool = True) -> tuple[object, dict[str, str]]:
    found = unit_devices(
        device_rules(decode(Resources, {"devices": list(rules)})), exact_elsewhere=exact_elsewhere
    )
    policy, first, *rest = (each.value for each in found)
    assert first == []  # what was there before is taken back
    entries = dict(rest[0]) if rest and isinstance(rest[0], list) else {}
    return policy, entries


def test_devices_that_are_allowed_are_all_that_systemd_allows() -> None:
    policy, entries = devices(DENY_ALL, ONE)
    assert policy == "strict"
    assert entries["/dev/char/10:229"] == "rw"
    assert (entries["char-*"], entries["char-136"], entries["/dev/char/1:3"]) == ("m", "rwm", "rwm")


def test_everything_allowed_is_no_policy() -> None:
    assert devices(DENY_ALL, ALLOW_ALL) == ("auto", {})


def test_a_rule_that_systemd_cannot_say_is_left_to_the_program_where_there_is_one() -> None:
    denied = {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    # All but one: under v2 the program denies it; under v1 nothing else would.
    assert devices(ALLOW_ALL, denied) == ("auto", {})
    assert devices(ALLOW_ALL, denied, exact_elsewhere=False)[0] == "strict"
    driver = {"allow": True, "type": "c", "major": 10, "access": "rwm"}
    assert devices(driver, denied)[1]["char-10"] == "rwm"
    assert "char-10" not in devices(driver, denied, exact_elsewhere=False)[1]
    any_driver = {"allow": True, "type": "c", "minor": 3, "access": "r"}
    assert devices(any_driver)[1]["char-*"] == "rwm"
    assert devices(any_driver, exact_elsewhere=False)[1]["char-*"] == "m"


def test_annotations_become_properties() -> None:
    found = plan(
        V2,
        annotations={
            "org.systemd.property.TimeoutStopSec": "2.5",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.SendSIGHUP": "true",
            "org.example.property.Other": "1",
        },
    )
    added = {
        each.name: (each.signature, each.value)
        for each in start_of(found).properties[8:]
        if not each.name.startswith("Device")
    }
    assert added == {
        "TimeoutStopUSec": ("t", 2_500_000),
        "CollectMode": ("s", "inactive-or-failed"),
        "SendSIGHUP": ("b", True),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "1"), ("Not-A-Name", "1"), ("CollectMode", "'open"), ("TimeoutStopSec", "'soon'"), ("A", "")],
)
def test_annotations_that_cannot_be_read_are_refused_at_their_place(name: str, value: str) -> None:
    with pytest.raises(SpecError) as failure:
        plan(V2, annotations={f"org.systemd.property.{name}": value})
    assert failure.value.where == f"/annotations/org.systemd.property.{name}"


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        ("-5", "i", -5),
        ("0x10", "i", 16),
        ("uint64 18446744073709551615", "t", INFINITY),
        ("byte 7", "y", 7),
        ("@q 7", "q", 7),
        ("1.5", "d", 1.5),
        ("double 2", "d", 2.0),
        (r"'it\'s'", "s", "it's"),
        ('"a b"', "s", "a b"),
        ("objectpath '/a'", "o", "/a"),
        ("['a', 'b']", "as", ["a", "b"]),
        ("@as []", "as", []),
        ("[uint64 1, 2]", "at", [1, 2]),
        ("[('/dev/null', 'rw')]", "a(ss)", [("/dev/null", "rw")]),
        ("[byte 1, 2]", "ay", b"\x01\x02"),
        ("<uint32 1>", "v", ("u", 1)),
    ],
)
def test_values_are_written_as_gvariants(text: str, signature: str, value: object) -> None:
    assert parse_gvariant(text, "/x") == (signature, value)


@pytest.mark.parametrize(
    "text", ["", "[]", "[1, 'a']", "uint16 70000", "1 2", "maybe", "('a'", "<1, 2>", "byte -1"]
)
def test_what_is_no_gvariant_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError) as failure:
        parse_gvariant(text, "/x")
    assert failure.value.where == "/x"
    assert "uint64" in failure.value.hint
