"""The life of a container, seen from outside."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, cgroup_name, runtime

__all__ = ["runtime"]


def wait_for(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_create_start_kill_delete(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    pid_file = runtime.directory / "pid"
    runtime.call("create", "--bundle", str(bundle), "--pid-file", str(pid_file), name)
    state = runtime.state(name)
    assert (state["status"], state["id"], state["bundle"]) == ("created", name, str(bundle))
    assert pid_file.read_text() == str(state["pid"])

    runtime.call("start", name)
    assert runtime.state(name)["status"] == "running"
    assert Path(f"/proc/{state['pid']}/cmdline").read_bytes().startswith(b"sleep\0")
    again = runtime.call("start", name, check=False)
    assert (again.returncode, "cannot start an already running container" in again.stderr) == (1, True)
    refused = runtime.call("delete", name, check=False)
    assert "that is not stopped: running" in refused.stderr

    runtime.call("kill", name, "SIGKILL")
    wait_for(lambda: runtime.state(name)["status"] == "stopped")
    assert runtime.state(name)["pid"] == 0
    assert "container not running" in runtime.call("kill", name, "9", check=False).stderr
    runtime.call("delete", name)
    gone = runtime.call("state", name, check=False)
    assert (gone.returncode, "does not exist" in gone.stderr) == (1, True)


def test_run_passes_exit_code_and_signal_on(runtime: Runtime) -> None:
    assert runtime.run("sh", "-c", "exit 7", check=False).returncode == 7
    # The init of a pid namespace is safe from its own signals, so the signal comes from outside.
    bundle, name = (
        runtime.bundle("sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"),
        runtime.new_id(),
    )
    with subprocess.Popen(
        [*runtime.command, "run", "--bundle", str(bundle), name], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(20) == 9


def test_an_id_is_taken_only_once(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("create", "--bundle", str(bundle), name)
    twice = runtime.call("create", "--bundle", str(bundle), name, check=False)
    assert (twice.returncode, "container with given ID already exists" in twice.stderr) == (1, True)
    assert runtime.state(name)["status"] == "created"


def test_waiting_init_is_small_and_not_the_interpreter(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("create", "--bundle", str(bundle), name)
    pid = runtime.state(name)["pid"]
    # Exact, while VmRSS lags behind by some pages.
    memory = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split()[0]: int(line.split()[1]) for line in memory}
    assert sizes["Rss:"] <= 48
    assert "memfd:executor" in os.readlink(f"/proc/{pid}/exe")


def test_memory_limit_of_six_megabytes(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 6 << 20}

    runtime.run("true", edit=edit)


def test_exec(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("run", "--detach", "--bundle", str(bundle), name)
    done = runtime.call(
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/tmp",
        "--user",
        "5:6",
        name,
        "sh",
        "-c",
        "pwd; id; echo $A; cat /proc/self/cgroup",
    )
    assert done.stdout.startswith("/tmp\nuid=5 gid=6")
    assert "\nb\n" in done.stdout
    assert done.stdout.count(f"/{cgroup_name(name)}\n") >= 1
    assert runtime.call("exec", name, "sh", "-c", "exit 3", check=False).returncode == 3
    missing = runtime.call("exec", name, "nope", check=False)
    assert (missing.returncode, 'exec: "nope": executable file not found in $PATH' in missing.stderr) == (
        255,
        True,
    )
    assert runtime.call("exec", "-u", "abc", name, "id", check=False).returncode == 255
    pid_file = runtime.directory / "exec.pid"
    runtime.call("exec", "--detach", "--pid-file", str(pid_file), name, "sleep", "50")
    assert Path(f"/proc/{pid_file.read_text()}/cmdline").read_bytes() == b"sleep\x0050\x00"


def test_json_log_has_one_line_with_the_error(runtime: Runtime) -> None:
    log = runtime.directory / "log.json"
    failed = runtime.call("--log", str(log), "--log-format", "json", "start", "nobody", check=False)
    entry = json.loads(log.read_text())
    assert (failed.returncode, entry["level"], entry["time"][-1]) == (1, "error", "Z")
    assert "container does not exist" in entry["msg"]
    assert "container does not exist" in failed.stderr.splitlines()[-1]


def test_two_hundred_cycles_leave_nothing(runtime: Runtime) -> None:
    bundle = runtime.bundle("sleep", "100")
    names = [runtime.new_id() for _ in range(200)]
    failures: list[BaseException] = []

    def live() -> None:
        try:
            while names:
                name = names.pop()
                runtime.call("create", "--bundle", str(bundle), name)
                runtime.call("start", name)
                runtime.call("kill", name, "KILL")
                runtime.call("delete", "--force", name)
        except (AssertionError, IndexError) as error:
            failures.append(error)

    threads = [threading.Thread(target=live) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [failure for failure in failures if not isinstance(failure, IndexError)] == []
    assert runtime.leftovers() == []


def test_killed_create_is_cleaned_up_at_any_moment(runtime: Runtime) -> None:
    bundle = runtime.bundle("sleep", "12345678")
    chance = random.Random(1)
    for _ in range(50):
        name = runtime.new_id()
        with (runtime.directory / "err").open("w") as err:
            process = subprocess.Popen(
                [*runtime.command, "create", "--bundle", str(bundle), name],
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
            )
        time.sleep(chance.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        runtime.call("delete", "--force", name)
        assert runtime.leftovers() == []
    executors = [
        pid
        for pid in filter(str.isdigit, os.listdir("/proc"))
        if runtime.prefix in _read(f"/proc/{pid}/cgroup") and _is_alive(pid)
    ]
    assert executors == []


def _is_alive(pid: str) -> bool:
    """Not a zombie: whose orphans they became may take its time to reap them."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] not in (["Z"], ["X"], [])


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("verb", ["explain", "create"])
def test_explain_touches_nothing(runtime: Runtime, verb: str) -> None:
    bundle = runtime.bundle("true")
    arguments = (
        ["explain", str(bundle)]
        if verb == "explain"
        else ["create", "--explain", "--bundle", str(bundle), "x"]
    )
    text = runtime.call(*arguments).stdout
    assert "mask /proc/kcore" in text
    assert "/linux/maskedPaths/2" in text
    assert not runtime.root.exists()


def test_the_timeline_has_every_step_of_create_and_exec(runtime: Runtime) -> None:
    path, name = runtime.directory / "timeline", runtime.new_id()
    runtime.call("--trace", str(path), "run", "-d", "--bundle", str(runtime.bundle("sleep", "100")), name)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    pivot = next(entry for entry in entries if entry["operation"] == "PivotRoot")
    assert pivot["took"] > 0
    assert [entry["step"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[-1]["of"] - len(entries) < 4, "only what comes after start is missing"
    ended = [entry["ended"] for entry in entries]
    assert ended == sorted(ended)
    assert any(entry["origin"] == "/mounts/0" for entry in entries)
    runtime.call("--trace", str(path), "exec", name, "true")
    assert "JoinProcess" in path.read_text()
    failed = runtime.call("--trace", "/no/such/folder/t", "exec", name, "true", check=False)
    assert "cannot write the timeline /no/such/folder/t: no such file or directory" in failed.stderr


@pytest.mark.parametrize("words", [["--systemd-cgroup"], ["--cgroup-manager", "systemd"]])
def test_a_cgroup_driver_that_is_not_there_is_refused_and_not_replaced(
    runtime: Runtime, words: list[str]
) -> None:
    bundle = str(runtime.bundle("true"))
    nowhere = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
    done = runtime.call(*words, "run", "--bundle", bundle, runtime.new_id(), check=False, env=nowhere)
    assert done.returncode == 1
    assert (
        "systemd cgroup flag passed, but systemd support for managing cgroups is not available" in done.stderr
    )
    assert runtime.leftovers() == []


def test_without_a_cgroup_driver_the_process_stays_in_the_callers_cgroups(runtime: Runtime) -> None:
    out = runtime.call(
        "--cgroup-manager", "disabled", "run", "--bundle", str(runtime.bundle("cat", "/proc/self/cgroup")),
        runtime.new_id(),
    ).stdout  # fmt: skip
    assert out == Path("/proc/self/cgroup").read_text()
