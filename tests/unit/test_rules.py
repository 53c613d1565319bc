"""The rules that a schema cannot say."""

from typing import Any

import pytest

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError
from pyruntime.spec.config import Config
from pyruntime.spec.default import default_config
from pyruntime.spec.rules import RULES, broken_rules, check_rules
from tests.config_cases import cases, changed, read

# Callers look for these words in the text of an error, whatever it is about.
TRIGGERS = (
    "no such file or directory",
    "permission denied",
    "not a directory",
    "is a directory",
    "executable file not found",
    "operation not permitted",
    "does not exist",
)


def supported() -> Any:
    """A config with everything that is carried out: no flag of a personality has a meaning yet."""
    return changed(read("everything"), {"at": "/linux/personality/flags"})


def test_what_is_right_breaks_no_rule() -> None:
    assert broken_rules(decode(Config, supported())) == []
    for rootless in (False, True):
        document = default_config(rootless=rootless, uid=1000, gid=1000)
        check_rules(decode(Config, decodable(document)))


def decodable(value: Any) -> Any:
    import json

    return json.loads(json.dumps(value))


@pytest.mark.parametrize("case", cases("refused_by_rules"))
def test_a_broken_rule_is_refused_with_its_pointer_and_a_way_out(case: dict[str, Any]) -> None:
    faults = broken_rules(decode(Config, changed(supported(), case)))
    assert case["where"] in [fault.where for fault in faults]
    fault = next(fault for fault in faults if fault.where == case["where"])
    assert case["what"] in fault.what
    assert fault.hint
    assert not any(word in fault.hint.lower() for word in TRIGGERS)
    with pytest.raises(SpecError, match=r".") as caught:
        check_rules(decode(Config, changed(supported(), case)))
    assert case["where"] in f"{caught.value.where} {caught.value.hint}"


def test_the_first_broken_rule_is_raised_and_the_others_are_named() -> None:
    document = supported()
    document["process"]["cwd"] = "tmp"
    document["hooks"]["poststop"][0]["path"] = "true"
    document["linux"]["rootfsPropagation"] = "both"
    with pytest.raises(SpecError) as caught:
        check_rules(decode(Config, document))
    assert caught.value.where == "/process/cwd"
    assert "also wrong: " in caught.value.hint
    assert "(/hooks/poststop/0/path)" in caught.value.hint
    assert "(/linux/rootfsPropagation)" in caught.value.hint


def test_no_rule_takes_another_one_for_granted() -> None:
    faults = broken_rules(Config(oci_version="1.0.0"))
    assert {fault.where for fault in faults} == {"/root", "/process"}
    assert len(RULES) == len(set(RULES))


@pytest.mark.parametrize(
    "change",
    [
        {"at": "/ociVersion", "value": "1.0.2-dev"},
        {"at": "/ociVersion", "value": "1.2.0+build.5"},
        {"at": "/process/capabilities/bounding/0", "value": "CAP_OF_THE_FUTURE"},
        {"at": "/process/env/1", "value": "EMPTY="},
        {"at": "/process/scheduler", "value": {"policy": "SCHED_FIFO", "priority": 99}},
        {"at": "/process/scheduler", "value": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2}},
        {"at": "/mounts/1", "value": {"destination": "/x", "options": ["remount", "ro"]}},
        {"at": "/mounts/1", "value": {"destination": "x/y", "type": "tmpfs"}},
        {"at": "/mounts/1", "value": {"destination": "/x", "source": "/y", "options": ["bind"]}},
        {"at": "/linux/sysctl/net~1ipv4~1conf~1eth0.1~1forwarding", "value": "1"},
        {"at": "/linux/sysctl/net.ipv4.conf.eth0~11.forwarding", "value": "1"},
        {"at": "/linux/sysctl/fs.mqueue.msg_max", "value": "1"},
        {"at": "/linux/sysctl/kernel.domainname", "value": "x"},
        {"at": "/linux/sysctl/user.max_user_namespaces", "value": "1"},
        {"at": "/linux/rootfsPropagation", "value": "rshared"},
        {"at": "/linux/devices/0/fileMode", "value": 0o20666},
        {"at": "/linux/uidMappings/1", "value": {"containerID": 65536, "hostID": 0, "size": 1}},
    ],
    ids=lambda change: str(change["at"]),
)
def test_what_only_looks_wrong_is_accepted(change: dict[str, Any]) -> None:
    check_rules(decode(Config, changed(supported(), change)))


def test_paths_and_propagation_need_a_mount_namespace() -> None:
    document = supported()
    document["linux"]["namespaces"] = [
        entry for entry in document["linux"]["namespaces"] if entry["type"] != "mount"
    ]
    wheres = [fault.where for fault in broken_rules(decode(Config, document))]
    assert wheres == ["/linux/maskedPaths", "/linux/rootfsPropagation"]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
        ("user", "user.max_user_namespaces"),
    ],
)
def test_a_sysctl_needs_the_namespace_that_holds_it(kind: str, key: str) -> None:
    document = supported()
    document["linux"]["sysctl"] = {key: "1"}
    assert broken_rules(decode(Config, document)) == []
    document["linux"]["namespaces"] = [
        entry for entry in document["linux"]["namespaces"] if entry["type"] != kind
    ]
    faults = {fault.where: fault for fault in broken_rules(decode(Config, document))}
    assert kind in faults[f"/linux/sysctl/{key}"].hint
