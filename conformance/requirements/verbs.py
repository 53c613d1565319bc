"""What callers of runc rely on beyond the specification: exec, pause, lists, statistics, pid files, logs."""

import json
import os
import re
import time
from datetime import datetime

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.container import Container, report_of
from conformance.expect import expect, expect_equal
from conformance.requirement import Subject
from conformance.requirements.process import status_of

SUBJECT = Subject("verbs")
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


# exec


@SUBJECT.callers("exec-namespaces", "`exec` runs in every namespace of the container.")
def exec_namespaces(bench: Bench) -> None:
    container = bench.running({"/hostname": "conformance", "/linux/namespaces/-": {"type": "cgroup"}})
    kinds = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    seen = container.exec(*(f"link:/proc/self/ns/{kind}" for kind in kinds))
    expect_equal(seen["hostname"], "conformance", "host name")
    for kind in kinds:
        wanted = os.readlink(f"/proc/{container.pid()}/ns/{kind}")
        expect_equal(seen[f"link:/proc/self/ns/{kind}"], wanted, f"{kind} namespace")


@SUBJECT.callers("exec-cgroup", "`exec` runs in the cgroup of the container.")
def exec_cgroup(bench: Bench) -> None:
    container = bench.running({"/linux/cgroupsPath": bench.cgroup}, "sleep:20")
    seen = container.exec("file:/proc/self/cgroup")["file:/proc/self/cgroup"]
    expect(bench.cgroup in seen, f"cgroups: {seen}")


@SUBJECT.callers("exec-options", "`exec` takes working directory, variables and user.")
def exec_options(bench: Bench) -> None:
    container = bench.running({})
    seen = container.exec(options=["--cwd", "/data", "--env", "ONE=1", "--env", "TWO=2", "--user", "5:6"])
    expect_equal((seen["cwd"], seen["uid"], seen["gid"]), ("/data", 5, 6), "cwd, uid and gid")
    expect({"ONE=1", "TWO=2"} <= set(seen["environment"]), f"environment: {seen['environment']}")


@SUBJECT.callers("exec-inherits", "`exec` takes what it is not told from the process of the container.")
def exec_inherits(bench: Bench) -> None:
    limit = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}
    changes = {
        "/process/user": {"uid": 5, "gid": 6},
        "/process/cwd": "/data",
        "/process/env": ["PATH=/", "ONE=1"],
        "/process/rlimits": [limit],
        "/process/noNewPrivileges": True,
    }
    seen = bench.running(changes).exec("file:/proc/self/limits")
    expect_equal((seen["cwd"], seen["uid"], seen["gid"]), ("/data", 5, 6), "cwd, uid and gid")
    expect("ONE=1" in seen["environment"], f"environment: {seen['environment']}")
    expect_equal(seen["no_new_privileges"], 1, "no_new_privs")
    expect(
        re.search(r"Max open files +100 +200", seen["file:/proc/self/limits"]) is not None,
        "the limits are others",
    )


def process_file(bench: Bench, process: JsonObject) -> str:
    path = f"{bench.directory}/process.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(process, file)
    return path


@SUBJECT.callers("exec-process", "`exec --process` takes all from the file.")
def exec_process(bench: Bench) -> None:
    container = bench.running({})
    names = ["CAP_KILL"]
    process = {
        "args": ["/probe", "file:/proc/self/status"],
        "cwd": "/tmp",
        "env": ["A=b"],
        "user": {"uid": 0, "gid": 4, "additionalGids": [9], "umask": 0o27},
        "capabilities": {"bounding": names, "permitted": names, "effective": names},
    }
    result = bench.command("exec", "--process", process_file(bench, process), container.identifier)
    seen = report_of(result, "exec")
    expect_equal((seen["cwd"], seen["uid"], seen["gid"]), ("/tmp", 0, 4), "cwd, uid and gid")
    expect(9 in seen["groups"], f"groups: {seen['groups']}")
    expect_equal(oct(seen["umask"]), oct(0o27), "umask")
    expect_equal(
        int(status_of(seen["file:/proc/self/status"])["CapEff"], 16), 1 << 5, "effective capabilities"
    )


@SUBJECT.callers("exec-capability", "`exec --cap` adds a capability.")
def exec_capability(bench: Bench) -> None:
    sets = {name: ["CAP_CHOWN"] for name in ("bounding", "permitted", "effective")}
    container = bench.running({"/process/capabilities": sets})
    seen = container.exec("file:/proc/self/status", options=["--cap", "CAP_KILL"])
    effective = int(status_of(seen["file:/proc/self/status"])["CapEff"], 16)
    expect_equal(effective & 1 << 5, 1 << 5, "CAP_KILL among the effective capabilities")


@SUBJECT.callers("exec-descriptors", "A process of `exec` has no descriptor but the three standard ones.")
def exec_descriptors(bench: Bench) -> None:
    expect_equal(bench.running({}).exec()["descriptors"], [0, 1, 2], "descriptors")


@SUBJECT.callers("exec-status", "`exec` ends with the status of its process.")
def exec_status(bench: Bench) -> None:
    container = bench.running({})
    expect_equal(
        bench.command("exec", container.identifier, "/probe", "exit:41").returncode, 41, "exit status"
    )


@SUBJECT.callers("exec-detached", "`exec --detach` returns at once, with the pid in the pid file.")
def exec_detached(bench: Bench) -> None:
    container = bench.running({})
    path = f"{bench.directory}/pid"
    words = ("exec", "--detach", "--pid-file", path, container.identifier, "/probe", "sleep:20")
    expect_equal(container.command(*words).returncode, 0, "exit status")
    with open(path, encoding="utf-8") as file:
        pid = file.read()
    wanted = os.readlink(f"/proc/{container.pid()}/ns/mnt")
    expect_equal(os.readlink(f"/proc/{pid}/ns/mnt"), wanted, "mount namespace of that process")


@SUBJECT.callers("exec-stopped", "`exec` in a stopped container is an error.")
def exec_stopped(bench: Bench) -> None:
    container = bench.running({}, "exit:0")
    container.wait_for("stopped")
    expect(container.command("exec", container.identifier, "/probe").returncode != 0, "`exec` succeeded")


@SUBJECT.callers("exec-missing-program", "`exec` of a program that is not there is an error that names it.")
def exec_missing_program(bench: Bench) -> None:
    container = bench.running({})
    result = container.command("exec", container.identifier, "/conformance-no-such-program")
    expect(result.returncode != 0, "`exec` succeeded")
    expect("/conformance-no-such-program" in result.stderr, f"it is not named: {result.stderr!r}")
    expect_equal(container.status(), "running", "status of the container afterwards")


# pause


def ticks(container: Container) -> int:
    """Processor time of the container's first process."""
    with open(f"/proc/{container.pid()}/stat", encoding="utf-8") as file:
        words = file.read().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


@SUBJECT.callers("pause", "`pause` freezes the container and `resume` thaws it.")
def pause(bench: Bench) -> None:
    container = bench.running({}, "spin:20")
    container.verb("pause")
    expect_equal(container.status(), "paused", "status after pause")
    before = ticks(container)
    time.sleep(0.3)
    expect(ticks(container) - before <= 2, "the container's process goes on")
    container.verb("resume")
    expect_equal(container.status(), "running", "status after resume")
    before, end = ticks(container), time.monotonic() + 10
    while ticks(container) - before < 5 and time.monotonic() < end:
        time.sleep(0.05)
    expect(ticks(container) - before >= 5, "the container's process does not go on")


@SUBJECT.callers("pause-stopped", "`pause` of a stopped container is an error.")
def pause_stopped(bench: Bench) -> None:
    container = bench.running({}, "exit:0")
    container.wait_for("stopped")
    expect(container.command("pause", container.identifier).returncode != 0, "`pause` succeeded")


@SUBJECT.callers("resume-running", "`resume` of a container that is not paused is an error.")
def resume_running(bench: Bench) -> None:
    container = bench.running({})
    expect(container.command("resume", container.identifier).returncode != 0, "`resume` succeeded")


@SUBJECT.callers("exec-paused", "`exec` in a paused container is an error, and does not hang.")
def exec_paused(bench: Bench) -> None:
    container = bench.running({})
    container.verb("pause")
    result = container.command("exec", container.identifier, "/probe")
    container.verb("resume")
    expect(result.returncode != 0, "`exec` in a paused container succeeded")


@SUBJECT.callers("delete-paused", "`delete --force` removes a paused container.")
def delete_paused(bench: Bench) -> None:
    container = bench.running({})
    container.verb("pause")
    container.command("delete", "--force", container.identifier)
    expect(container.command("state", container.identifier).returncode != 0, "the container is still there")


@SUBJECT.callers(
    "delete-force", "`delete --force` kills and removes a running container, and an unknown one is no error."
)
def delete_force(bench: Bench) -> None:
    container = bench.running({})
    pid = container.pid()
    expect_equal(container.command("delete", "--force", container.identifier).returncode, 0, "exit status")
    expect(not os.path.exists(f"/proc/{pid}/ns/mnt"), "the process is still there")
    expect_equal(
        container.command("delete", "--force", "conformance-unknown").returncode, 0, "of an unknown one"
    )


# What is printed and written.


@SUBJECT.callers("pid-file", "The pid file has digits only, without a newline.")
def pid_file(bench: Bench) -> None:
    container = bench.container({})
    path = f"{bench.directory}/pid"
    container.create("--pid-file", path)
    with open(path, encoding="utf-8") as file:
        expect_equal(file.read(), str(container.pid()), "content of the pid file")


@SUBJECT.callers("json-log", "With --log-format json an error is one object a line with level, msg and time.")
def json_log(bench: Bench) -> None:
    path = f"{bench.directory}/log.json"
    container = bench.container({"/process/args": ["/conformance-no-such-program"]})
    words = ("create", "--bundle", container.bundle, container.identifier)
    result = bench.command(*words, options=["--log", path, "--log-format", "json"])
    expect(result.returncode != 0, "`create` without a program succeeded")
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    errors = [line for line in lines if line.get("level") == "error"]
    expect(bool(errors), f"no line of the level error: {lines}")
    expect({"level", "msg", "time"} <= set(errors[-1]), f"fields: {sorted(errors[-1])}")
    expect("/conformance-no-such-program" in errors[-1]["msg"], f"the program is not named: {errors[-1]}")
    expect(bool(re.fullmatch(STAMP, errors[-1]["time"])), f"time is not RFC 3339: {errors[-1]['time']}")


@SUBJECT.callers("log-appended", "The log file is appended to.")
def log_appended(bench: Bench) -> None:
    path = f"{bench.directory}/log"
    with open(path, "w", encoding="utf-8") as file:
        file.write("before\n")
    bench.command("state", "conformance-unknown", options=["--log", path])
    with open(path, encoding="utf-8") as file:
        text = file.read()
    expect(text.startswith("before\n") and len(text) > len("before\n"), f"the log is {text!r}")


@SUBJECT.callers("error-on-stderr", "With a log the error stands on standard error, too.")
def error_on_stderr(bench: Bench) -> None:
    result = bench.command("state", "conformance-unknown", options=["--log", f"{bench.directory}/log"])
    expect(bool(result.stderr.strip()), "nothing stands on standard error")


@SUBJECT.callers("state-created", "The state tells when the container was created.")
def state_created(bench: Bench) -> None:
    stamp = str(bench.created({}).state().get("created"))
    expect(bool(re.fullmatch(STAMP, stamp)), f"created is {stamp!r}")
    moment = datetime.fromisoformat(re.sub(r"\.\d+", "", stamp))
    age = time.time() - moment.timestamp()
    expect(abs(age) < 120, f"created is {stamp}, {age:.0f} s ago")


@SUBJECT.callers("list-json", "`list --format json` lists the containers.")
def list_json(bench: Bench) -> None:
    container = bench.running({})
    listed = json.loads(bench.command("list", "--format", "json").stdout)
    entry: JsonObject = next((item for item in listed if item.get("id") == container.identifier), {})
    expect_equal((entry.get("status"), entry.get("pid")), ("running", container.pid()), "status and pid")
    expect_equal(entry.get("bundle"), container.bundle, "bundle")


@SUBJECT.callers("list-quiet", "`list --quiet` prints one identifier a line.")
def list_quiet(bench: Bench) -> None:
    containers = [bench.created({}), bench.created({})]
    names = bench.command("list", "--quiet").stdout.split()
    expect_equal(sorted(names), sorted(one.identifier for one in containers), "identifiers")


@SUBJECT.callers("ps-json", "`ps --format json` lists process ids of the host, those of `exec` as well.")
def ps_json(bench: Bench) -> None:
    container = bench.running({})
    result = bench.command("ps", "--format", "json", container.identifier)
    expect_equal(json.loads(result.stdout), [container.pid()], "processes")
    container.command("exec", "--detach", container.identifier, "/probe", "sleep:20")
    result = bench.command("ps", "--format", "json", container.identifier)
    expect_equal(len(json.loads(result.stdout)), 2, "processes after `exec`")


@SUBJECT.callers("events-stats", "`events --stats` prints the container's figures as one object.")
def events_stats(bench: Bench) -> None:
    container = bench.running({"/linux/resources": {"pids": {"limit": 17}}})
    result = bench.command("events", "--stats", container.identifier)
    expect_equal(result.returncode, 0, f"exit status ({result.stderr.strip()[-200:]})")
    event = json.loads(result.stdout)
    expect_equal((event.get("type"), event.get("id")), ("stats", container.identifier), "type and id")
    data = event["data"]
    expect_equal(
        (data["pids"]["current"], data["pids"]["limit"]), (1, 17), "number of processes, and its limit"
    )
    expect(data["cpu"]["usage"]["total"] >= 0, f"processor time: {data['cpu']}")
    expect("usage" in data["memory"]["usage"], f"memory: {data['memory']}")


@SUBJECT.callers("events-interval", "`events --interval` prints an object a line, again and again.")
def events_interval(bench: Bench) -> None:
    container = bench.running({})
    reading, writing = os.pipe()
    try:
        with (
            bench.in_background(
                "events", "--interval", "100ms", container.identifier, stdout=writing
            ) as process,
            os.fdopen(reading, encoding="utf-8") as output,
        ):
            os.close(writing)
            writing = -1
            expect(process.poll() is None, "`events` has ended")
            types = []
            for _ in range(2):
                line = output.readline()
                expect(bool(line), "`events` printed less than two lines")
                types.append(json.loads(line)["type"])
            expect_equal(types, ["stats", "stats"], "types of the events")
            process.kill()
    finally:
        if writing >= 0:
            os.close(writing)


@SUBJECT.callers("spec", "`spec` writes a config that the runtime itself accepts.")
def spec(bench: Bench) -> None:
    bundle = bench.bundle({})
    os.unlink(f"{bundle}/config.json")
    result = bench.command_in(bundle, "spec")
    expect_equal(result.returncode, 0, f"exit status ({result.stderr.strip()[-200:]})")
    with open(f"{bundle}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    config["process"].update({"args": ["/probe"], "terminal": False})
    expect_equal(bench.look({"": config})["pid"], 1, "pid of the program")


@SUBJECT.callers("help", "`--help` of the program and of a verb succeeds.")
def show_help(bench: Bench) -> None:
    for words in (("--help",), ("create", "--help"), ("exec", "--help")):
        expect_equal(bench.command(*words).returncode, 0, f"exit status of `{' '.join(words)}`")
