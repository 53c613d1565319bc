"""`events` of real containers, next to what runc says."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Edit, Runtime, runtime

pytestmark = pytest.mark.privileged
__all__ = ["runtime"]


def started(runtime: Runtime, *words: str, edit: Edit | None = None) -> str:
    container_id = runtime.new_id()
    runtime.call("run", "--detach", "--bundle", str(runtime.bundle(*words, edit=edit)), container_id)
    return container_id


def shape(value: Any) -> Any:
    """The names and kinds in a document, without its numbers."""
    if isinstance(value, dict):
        return {
            name: shape(entry)
            for name, entry in value.items()
            if name not in ("raw", "blkio", "max", "cache")
        }
    return type(value).__name__


def test_statistics_are_printed_once(runtime: Runtime) -> None:
    box = started(runtime, "sleep", "60")
    event = json.loads(runtime.call("events", "--stats", box).stdout)
    assert (event["type"], event["id"]) == ("stats", box)
    assert event["data"]["pids"]["current"] == 1
    assert event["data"]["cpu"]["usage"]["total"] > 0
    assert 0 < event["data"]["memory"]["usage"]["usage"] < 64 << 20


def test_the_document_has_the_form_of_runcs(runtime: Runtime, tmp_path: Path) -> None:
    runc = shutil.which("runc")
    assert runc, "runc belongs to the packages that tests need"
    if not Path("/sys/fs/cgroup/memory").exists():
        pytest.skip("cgroup v2: versions of runc differ in what they say there")
    bundle = str(runtime.bundle("sleep", "60"))
    ours, theirs = runtime.new_id(), runtime.new_id()
    runtime.call("run", "--detach", "--bundle", bundle, ours)
    reference = [runc, "--root", str(tmp_path)]
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "timeout": 30}
    try:
        subprocess.run([*reference, "run", "-d", "-b", bundle, theirs], check=True, **quiet)
        printed = subprocess.run([*reference, "events", "--stats", theirs], check=True, capture_output=True)
    finally:
        subprocess.run([*reference, "delete", "--force", theirs], check=False, **quiet)
    found = json.loads(runtime.call("events", "--stats", ours).stdout)
    assert shape(found) == shape(json.loads(printed.stdout))


def test_events_follow_a_container_to_its_end(runtime: Runtime) -> None:
    box = started(runtime, "sleep", "0.6")
    lines = runtime.call("events", "--interval", "100ms", box).stdout.splitlines()
    assert len(lines) >= 2
    assert {json.loads(line)["type"] for line in lines} == {"stats"}


def test_a_shortage_of_memory_is_an_event(runtime: Runtime) -> None:
    def limit(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 8 << 20, "swap": 8 << 20}

    script = "sleep 0.5; x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    box = started(runtime, "sh", "-c", f"sh -c '{script}'; sleep 0.5", edit=limit)
    lines = runtime.call("events", "--interval", "60s", box).stdout.splitlines()
    assert [json.loads(line) for line in lines][:1] == [{"type": "oom", "id": box}]


def test_a_stopped_container_has_no_events(runtime: Runtime) -> None:
    box = started(runtime, "true")
    for _ in range(1000):
        if runtime.state(box)["status"] == "stopped":
            break
    refused = runtime.call("events", "--stats", box, check=False)
    assert (refused.returncode, "is not running" in refused.stderr) == (1, True)
