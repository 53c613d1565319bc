"""Each claim of `features`, held against what is planned when a config asks for it, and against the specification."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from pyruntime.base.decode import decode, json_name
from pyruntime.base.errors import SpecError
from pyruntime.base.record import fields_of
from pyruntime.host.cgroups import parse_cgroup_layout
from pyruntime.plan.capabilities import mask_of
from pyruntime.plan.cgroup.layout import CgroupLayout
from pyruntime.plan.cgroup.operations import StartUnit
from pyruntime.plan.facts import HostFacts
from pyruntime.plan.launch import LaunchPlan, plan_create
from pyruntime.plan.mount_options import read_options
from pyruntime.plan.operations import IdmapTree, RunHook, SetMemoryPolicy, SetSecurityAttribute
from pyruntime.plan.options import LaunchOptions
from pyruntime.plan.view import NAMESPACE_FLAGS
from pyruntime.spec.annotations import IGNORED, REFUSED
from pyruntime.spec.config import Config, Hooks
from pyruntime.spec.rules import check_rules
from pyruntime.verbs.features import features, kernel_version

TREE = Path(__file__).resolve().parents[2]
SPECS = TREE / "specs/runtime/v1.3.0"
DOCUMENT: dict[str, Any] = json.loads(json.dumps(features()))
LINUX: dict[str, Any] = DOCUMENT["linux"]
V1 = parse_cgroup_layout("30 20 0:26 / /cg/rdma rw - cgroup cgroup rw,rdma\n", "4:rdma:/own\n")
V2 = parse_cgroup_layout("30 20 0:26 / /cg rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/own\n")

# config.md, "Linux mount options", one row each.
SPECIFIED_OPTIONS = """
    async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
    noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
    relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro
    rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave
    strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap
"""


def planned(
    layout: CgroupLayout | None = None,
    facts: HostFacts | None = None,
    options: LaunchOptions | None = None,
    **document: Any,
) -> LaunchPlan:
    """The plan of a container whose config is checked like every other."""
    linux = {"namespaces": [{"type": "mount"}], **document.pop("linux", {})}
    process = {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, **document.pop("process", {})}
    base = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": process, "linux": linux}
    config = decode(Config, base | document)
    check_rules(config)
    return plan_create(config, "box", "/b", facts or HostFacts(), layout or CgroupLayout(), options)


def test_the_document_has_the_form_that_the_specification_gives_it() -> None:
    resources = [
        (path.name, Resource.from_contents(json.loads(path.read_text()), DRAFT4))
        for path in SPECS.glob("*.json")
    ]
    schema = json.loads((SPECS / "features-schema.json").read_text())
    validator = Draft4Validator(schema, registry=Registry().with_resources(resources))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    wrong = DOCUMENT | {"linux": LINUX | {"namespaces": ["none"]}}
    assert list(validator.iter_errors(wrong)), "the schema is applied"
    arrays = [value for value in (DOCUMENT | LINUX | LINUX["seccomp"]).values() if isinstance(value, list)]
    assert all(len(array) == len(set(array)) for array in arrays)


def test_hooks() -> None:
    assert set(DOCUMENT["hooks"]) == {json_name(name) for name in fields_of(Hooks)}
    for name in ("createContainer", "startContainer"):
        steps = planned(hooks={name: [{"path": "/x"}]}).operations
        assert [step.name for step in steps if isinstance(step, RunHook)] == [name]


@pytest.mark.parametrize("option", DOCUMENT["mountOptions"])
def test_a_mount_option_is_known_and_not_handed_to_the_filesystem(option: str) -> None:
    assert read_options((option,), "/mounts/0").data == ""


def test_mount_options_are_those_of_the_specification_and_no_others_are_known() -> None:
    assert set(SPECIFIED_OPTIONS.split()) <= set(DOCUMENT["mountOptions"])
    others = set(DOCUMENT["mountOptions"]) - set(SPECIFIED_OPTIONS.split())
    assert others == {"src-nofollow", "dest-nofollow", "copy-symlink"}
    assert read_options(("size=1k",), "/mounts/0").data == "size=1k"


@pytest.mark.parametrize("kind", LINUX["namespaces"])
def test_a_namespace_is_made(kind: str) -> None:
    mapping = [{"containerID": 0, "hostID": 1, "size": 1}]
    linux: dict[str, Any] = {"namespaces": [{"type": name} for name in {kind, "mount"}]}
    if kind == "user":
        linux |= {"uidMappings": mapping, "gidMappings": mapping}
    assert planned(linux=linux).namespaces & NAMESPACE_FLAGS[kind]


def test_every_capability_up_to_the_newest_has_its_own_bit() -> None:
    masks = [mask_of((name,)) for name in LINUX["capabilities"]]
    assert masks == [1 << number for number in range(len(masks))]
    assert mask_of(("CAP_NONE",)) == 0


def test_cgroups() -> None:
    resources = {"rdma": {"mlx5_1": {"hcaHandles": 3}}}
    assert planned(V1, linux={"resources": resources}).cgroup.limits
    assert planned(V2, linux={"resources": resources}).cgroup.limits
    systemd = LaunchOptions(cgroup_manager="systemd")
    for user_id in (0, 1000):
        plan = planned(V2, HostFacts(user_id=user_id), systemd, linux={"cgroupsPath": ":p:n"})
        (unit,) = [step for step in plan.cgroup.make if isinstance(step, StartUnit)]
        assert unit.of_user == (user_id != 0)
    assert all(LINUX["cgroup"].values())


def seccomp(**profile: Any) -> LaunchPlan:
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}
    base = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    return planned(linux={"seccomp": base | profile})


@pytest.mark.parametrize("action", LINUX["seccomp"]["actions"])
def test_a_seccomp_action_is_planned(action: str) -> None:
    listener = {"listenerPath": "/run/x"} if action == "SCMP_ACT_NOTIFY" else {}
    default = "SCMP_ACT_LOG" if action == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    rule = {"names": ["read"], "action": action}
    found = seccomp(defaultAction=default, syscalls=[rule], **listener).filter
    assert found is not None
    assert len(found.rules) == 1


@pytest.mark.parametrize("operator", LINUX["seccomp"]["operators"])
def test_a_seccomp_operator_is_planned(operator: str) -> None:
    argument = {"index": 0, "value": 1, "valueTwo": 1, "op": operator}
    found = seccomp(syscalls=[{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [argument]}]).filter
    assert found is not None
    assert len(found.rules[0].comparisons) == 1


def test_seccomp_architectures_and_flags_are_accepted_and_others_are_not() -> None:
    assert seccomp(architectures=LINUX["seccomp"]["archs"], flags=LINUX["seccomp"]["knownFlags"]).filter
    for wrong in ({"architectures": ["SCMP_ARCH_X"]}, {"flags": ["SECCOMP_FILTER_FLAG_X"]}):
        with pytest.raises(SpecError):
            seccomp(**wrong)
    definitions = json.loads((SPECS / "defs-linux.json").read_text())["definitions"]
    assert set(LINUX["seccomp"]["archs"]) == set(definitions["SeccompArch"]["enum"])
    assert set(LINUX["seccomp"]["operators"]) == set(definitions["SeccompOperators"]["enum"])
    assert set(LINUX["seccomp"]["actions"]) == set(definitions["SeccompAction"]["enum"])


def test_supported_flags_are_those_of_the_kernel() -> None:
    def supported(release: str) -> set[str]:
        found: Any = features(release)
        return {
            flag.removeprefix("SECCOMP_FILTER_FLAG_") for flag in found["linux"]["seccomp"]["supportedFlags"]
        }

    assert supported("4.13.0") == {"TSYNC"}
    assert supported("5.12.3-generic") == {"TSYNC", "LOG", "SPEC_ALLOW"}
    assert supported("6.1.0-13-amd64") == {"TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"}
    assert kernel_version("nonsense") == (0, 0)


def test_security_modules() -> None:
    facts = HostFacts(apparmor=True, selinux=True)
    steps = planned(facts=facts, process={"apparmorProfile": "p", "selinuxLabel": "l"}).operations
    assert {step.value.split()[-1] for step in steps if isinstance(step, SetSecurityAttribute)} >= {"p", "l"}
    assert LINUX["apparmor"]["enabled"]
    assert LINUX["selinux"]["enabled"]


def test_intel_rdt_with_schemata_and_monitoring() -> None:
    wanted = {"closID": "a", "schemata": ["L3:0=f"], "enableMonitoring": True}
    plan = planned(facts=HostFacts(resctrl="/resctrl"), linux={"intelRdt": wanted}).resctrl
    assert plan is not None
    assert plan.schemata == ("L3:0=f",)
    assert plan.monitor
    assert LINUX["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}


def test_memory_policies() -> None:
    definitions = json.loads((SPECS / "defs-linux.json").read_text())["definitions"]
    assert set(LINUX["memoryPolicy"]["modes"]) == set(definitions["MemoryPolicyMode"]["enum"])
    assert set(LINUX["memoryPolicy"]["flags"]) == set(definitions["MemoryPolicyFlag"]["enum"])
    for mode in LINUX["memoryPolicy"]["modes"]:
        nodes = {} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
        steps = planned(linux={"memoryPolicy": {"mode": mode, **nodes}}).operations
        assert [step for step in steps if isinstance(step, SetMemoryPolicy)]
    for flag in LINUX["memoryPolicy"]["flags"]:
        planned(linux={"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}})


def test_idmapped_mounts_and_network_devices() -> None:
    mapping = [{"containerID": 0, "hostID": 1, "size": 1}]
    mount = {"destination": "/m", "source": "/s", "options": ["bind"]}
    steps = planned(mounts=[mount | {"uidMappings": mapping, "gidMappings": mapping}]).operations
    assert [step for step in steps if isinstance(step, IdmapTree)]
    namespaces = [{"type": "mount"}, {"type": "network"}]
    assert planned(linux={"namespaces": namespaces, "netDevices": {"eth9": {}}}).net_devices
    assert LINUX["mountExtensions"]["idmap"]["enabled"]
    assert LINUX["netDevices"]["enabled"]


def test_annotations_that_change_something_are_all_named() -> None:
    prefixes = ("run.oci.", "org.systemd.", "org.criu.")
    found = {
        node.value
        for path in (TREE / "pyruntime").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(prefixes)
    }
    assert found - {*REFUSED, *IGNORED} == set(DOCUMENT["potentiallyUnsafeConfigAnnotations"])


def test_versions() -> None:
    assert DOCUMENT["ociVersionMin"] == "1.0.0"
    assert DOCUMENT["ociVersionMax"] == SPECS.name.removeprefix("v")
    for version in ("1.0.0", DOCUMENT["ociVersionMax"]):
        planned(ociVersion=version)
