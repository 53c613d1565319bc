"""What callers of runc rely on beyond the specification: exec, pause, lists, pid files, logs, features."""

import json
import os
import re

from conformance.bench import Bench
from conformance.container import report_of
from conformance.expect import expect, expect_equal
from conformance.requirement import Subject

SUBJECT = Subject("verbs")


@SUBJECT.callers("exec-namespaces", "`exec` runs in the container's namespaces.")
def exec_namespaces(bench: Bench) -> None:
    container = bench.running({"/hostname": "conformance"})
    seen = report_of(bench.command("exec", container.identifier, "/probe", "link:/proc/self/ns/mnt"), "exec")
    expect_equal(seen["hostname"], "conformance", "host name")
    expect_equal(
        seen["link:/proc/self/ns/mnt"], os.readlink(f"/proc/{container.pid()}/ns/mnt"), "mount namespace"
    )


@SUBJECT.callers("exec-options", "`exec` takes working directory, variables and user.")
def exec_options(bench: Bench) -> None:
    container = bench.running({})
    words = ["--cwd", "/data", "--env", "ONE=1", "--user", "5:6"]
    seen = report_of(bench.command("exec", *words, container.identifier, "/probe"), "exec")
    expect_equal((seen["cwd"], seen["uid"], seen["gid"]), ("/data", 5, 6), "cwd, uid and gid")
    expect("ONE=1" in seen["environment"], f"environment: {seen['environment']}")


@SUBJECT.callers("exec-process", "`exec --process` takes all from the file.")
def exec_process(bench: Bench) -> None:
    container = bench.running({})
    path = f"{bench.directory}/process.json"
    process = {"args": ["/probe"], "cwd": "/tmp", "env": ["A=b"], "user": {"uid": 3, "gid": 4}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(process, file)
    seen = report_of(bench.command("exec", "--process", path, container.identifier), "exec")
    expect_equal((seen["cwd"], seen["uid"], seen["gid"]), ("/tmp", 3, 4), "cwd, uid and gid")


@SUBJECT.callers("exec-descriptors", "A process of `exec` has no descriptor but the three standard ones.")
def exec_descriptors(bench: Bench) -> None:
    container = bench.running({})
    seen = report_of(bench.command("exec", container.identifier, "/probe"), "exec")
    expect_equal(seen["descriptors"], [0, 1, 2], "descriptors")


@SUBJECT.callers("exec-status", "`exec` ends with the status of its process.")
def exec_status(bench: Bench) -> None:
    container = bench.running({})
    result = bench.command("exec", container.identifier, "/probe", "exit:41")
    expect_equal(result.returncode, 41, "exit status")


@SUBJECT.callers("pause", "`pause` freezes the container and `resume` thaws it.")
def pause(bench: Bench) -> None:
    container = bench.running({})
    container.verb("pause")
    expect_equal(container.status(), "paused", "status after pause")
    container.verb("resume")
    expect_equal(container.status(), "running", "status after resume")


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
    options = ["--log", path, "--log-format", "json"]
    result = bench.command("state", "conformance-unknown", options=options)
    expect(result.returncode != 0, "`state` of an unknown id succeeded")
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    errors = [line for line in lines if line.get("level") == "error"]
    expect(bool(errors), f"no line of the level error: {lines}")
    expect({"level", "msg", "time"} <= set(errors[-1]), f"fields: {sorted(errors[-1])}")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    expect(bool(re.fullmatch(stamp, errors[-1]["time"])), f"time is not RFC 3339: {errors[-1]['time']}")


@SUBJECT.callers("list-json", "`list --format json` lists the containers.")
def list_json(bench: Bench) -> None:
    container = bench.running({})
    listed = json.loads(bench.command("list", "--format", "json").stdout)
    entry: dict[str, object] = next((item for item in listed if item.get("id") == container.identifier), {})
    expect_equal((entry.get("status"), entry.get("pid")), ("running", container.pid()), "status and pid")


@SUBJECT.callers("ps-json", "`ps --format json` lists process ids of the host.")
def ps_json(bench: Bench) -> None:
    container = bench.running({})
    result = bench.command("ps", "--format", "json", container.identifier)
    expect_equal(json.loads(result.stdout), [container.pid()], "processes")


@SUBJECT.callers("events-stats", "`events --stats` prints the container's figures as one object.")
def events_stats(bench: Bench) -> None:
    container = bench.running({})
    result = bench.command("events", "--stats", container.identifier)
    expect_equal(result.returncode, 0, f"exit status ({result.stderr.strip()[-200:]})")
    event = json.loads(result.stdout)
    expect_equal((event.get("type"), event.get("id")), ("stats", container.identifier), "type and id")
    expect_equal(event["data"]["pids"]["current"], 1, "number of processes")
