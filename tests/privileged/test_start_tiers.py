"""A container's whole life under each way to start the program; what a static program cannot load comes by itself."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime
from tests.privileged.test_net_devices import asking, device
from tests.unit.test_start_tiers import build, has_static_library

__all__ = ["device", "runtime"]


def forbid(config: dict[str, Any]) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    # Without a pid namespace `run` becomes a subreaper.
    config["linux"]["namespaces"] = [
        entry for entry in config["linux"]["namespaces"] if entry["type"] != "pid"
    ]


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_a_whole_life(runtime: Runtime, tier: int, tmp_path: Path, device: str) -> None:
    if tier < 3 and not has_static_library(sys.executable):
        pytest.skip("the kernel has no part in it: this interpreter comes without its static library")
    program, _ = build(sys.executable, tier, tmp_path / "prefix")
    runtime.command[0] = str(program)
    bundle, name = runtime.bundle("sleep", "100", edit=forbid), runtime.new_id()
    for _ in range(2):  # the filter is compiled, then taken from the cache
        runtime.call("create", "--bundle", str(bundle), name)
        assert runtime.state(name)["status"] == "created"
        runtime.call("start", name)
        refused = runtime.call("exec", name, "mkdir", "/tmp/x", check=False)
        assert (refused.returncode, "Permission denied" in refused.stderr) == (1, True), refused.stderr
        assert "sleep 100" in runtime.call("ps", name).stdout
        runtime.call("pause", name)
        assert runtime.state(name)["status"] == "paused"
        runtime.call("resume", name)
        runtime.call("kill", name, "KILL")
        while runtime.state(name)["status"] != "stopped":
            pass
        runtime.call("delete", name)
    assert json.loads(runtime.call("list", "--format", "json").stdout) in (None, [])
    result = runtime.run("sh", "-c", "mkdir /tmp/x; echo $?", edit=forbid)
    assert result.stdout == "1\n"
    reports_and_devices(runtime, device)


def reports_and_devices(runtime: Runtime, device: str) -> None:
    """What takes modules that no static program has."""
    good = runtime.bundle("true")
    assert runtime.call("validate", str(good)).stdout == "valid\n"
    wrong = runtime.bundle("true", edit=lambda config: config.update(hostname="x" * 65, ociVersion="2.0.0"))
    judged = runtime.call("validate", "--format", "json", "--no-host", str(wrong), check=False)
    assert judged.returncode == 1
    assert {"/hostname", "/ociVersion"} <= {fault["where"] for fault in json.loads(judged.stdout)}
    report = runtime.call("doctor", "--format", "json")
    assert {"subject", "found", "remark"} == set(json.loads(report.stdout)[0])
    moved = runtime.run("cat", "/proc/net/dev", edit=asking(device, "inside0"))
    assert "inside0:" in moved.stdout
