"""runtime.md: the state, and the operations create, start, kill and delete."""

import os

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.requirement import Subject

SUBJECT = Subject("lifecycle")


@SUBJECT.must("state-fields", "runtime.md#state", "The state has ociVersion, id, status, pid and bundle.")
def state_fields(bench: Bench) -> None:
    container = bench.created({})
    state = container.state()
    expect(str(state.get("ociVersion", "")).count(".") == 2, f"ociVersion is {state.get('ociVersion')!r}")
    expect_equal(state.get("id"), container.identifier, "id")
    expect_equal(state.get("status"), "created", "status after create")
    expect_equal(state.get("bundle"), container.bundle, "bundle")
    expect(os.path.isdir(f"/proc/{state.get('pid')}"), f"pid {state.get('pid')!r} is no process of the host")


@SUBJECT.must("annotations", "runtime.md#state", "The state has the annotations of the config.")
def state_annotations(bench: Bench) -> None:
    annotations = {"org.example.key": "a value"}
    seen = bench.created({"/annotations": annotations}).state().get("annotations") or {}
    expect_equal(seen.get("org.example.key"), "a value", "the annotation")


@SUBJECT.must("create-does-not-start", "runtime.md#create", "Create does not run the program of the user.")
def create_does_not_start(bench: Bench) -> None:
    container = bench.created({}, "write:/tmp/started")
    expect(not os.path.exists(f"{container.bundle}/rootfs/tmp/started"), "the program ran before `start`")
    container.start()
    container.wait_for("stopped")
    expect(os.path.exists(f"{container.bundle}/rootfs/tmp/started"), "the program did not run after `start`")


@SUBJECT.must(
    "config-is-read-once", "runtime.md#create", "Changes of config.json after create have no effect."
)
def config_is_read_once(bench: Bench) -> None:
    container = bench.created({}, "write:/tmp/started")
    with open(f"{container.bundle}/config.json", "w", encoding="utf-8") as file:
        file.write("{}")
    container.start()
    container.wait_for("stopped")
    expect(
        os.path.exists(f"{container.bundle}/rootfs/tmp/started"), "the program of the old config did not run"
    )


@SUBJECT.must("unique-id", "runtime.md#create", "Creating a container under an id in use is an error.")
def unique_id(bench: Bench) -> None:
    first = bench.created({})
    result = bench.command("create", "--bundle", first.bundle, first.identifier)
    expect(result.returncode != 0, "a second `create` with the same id succeeded")
    expect_equal(first.status(), "created", "status of the first container afterwards")


@SUBJECT.must("running", "runtime.md#start", "After start the user's program runs and the status is running.")
def running(bench: Bench) -> None:
    expect_equal(bench.running({}).status(), "running", "status after start")


@SUBJECT.must("stopped", "runtime.md#lifecycle", "When the program has ended the status is stopped.")
def stopped(bench: Bench) -> None:
    bench.running({}, "exit:0").wait_for("stopped")


@SUBJECT.must("start-twice", "runtime.md#start", "Starting a container that is not created is an error.")
def start_twice(bench: Bench) -> None:
    container = bench.running({})
    result = bench.command("start", container.identifier)
    expect(result.returncode != 0, "a second `start` succeeded")
    expect_equal(container.status(), "running", "status afterwards")


@SUBJECT.must(
    "start-without-process", "config.md#process", "Start without `process` in the config is an error."
)
def start_without_process(bench: Bench) -> None:
    container = bench.container({"/process/args": []})
    created = bench.command("create", "--bundle", container.bundle, container.identifier)
    if created.returncode == 0:
        result = bench.command("start", container.identifier)
        expect(result.returncode != 0, "`start` without arguments succeeded")


@SUBJECT.must("kill-signals", "runtime.md#kill", "Kill sends the signal to the container's process.")
def kill_signals(bench: Bench) -> None:
    container = bench.running({})
    container.verb("kill", "KILL")
    container.wait_for("stopped")


@SUBJECT.must(
    "kill-stopped", "runtime.md#kill", "Kill of a container neither created nor running is an error."
)
def kill_stopped(bench: Bench) -> None:
    container = bench.running({}, "exit:0")
    container.wait_for("stopped")
    result = bench.command("kill", container.identifier, "TERM")
    expect(result.returncode != 0, "`kill` of a stopped container succeeded")


@SUBJECT.must("delete-running", "runtime.md#delete", "Delete of a container that is not stopped is an error.")
def delete_running(bench: Bench) -> None:
    container = bench.running({})
    result = bench.command("delete", container.identifier)
    expect(result.returncode != 0, "`delete` of a running container succeeded")
    expect_equal(container.status(), "running", "status afterwards")


@SUBJECT.must(
    "delete-frees", "runtime.md#delete", "Delete removes the cgroup that create made, and frees the id."
)
def delete_frees(bench: Bench) -> None:
    container = bench.running({"/linux/cgroupsPath": bench.cgroup})
    made = [path for path in container.cgroups().values() if path.endswith(bench.cgroup)]
    expect(bool(made), "the container is in no cgroup of the configured path")
    container.verb("kill", "KILL")
    container.wait_for("stopped")
    container.verb("delete")
    left = [path for path in made if os.path.isdir(path)]
    expect(not left, f"cgroups left behind: {left}")
    container.create()


@SUBJECT.must(
    "unknown-id", "runtime.md#query-state", "State, start, kill and delete of an unknown id are errors."
)
def unknown_id(bench: Bench) -> None:
    for words in (["state"], ["start"], ["kill"], ["delete"]):
        result = bench.command(*words, "conformance-unknown", *(["KILL"] if words == ["kill"] else []))
        expect(result.returncode != 0, f"`{words[0]}` of an unknown id succeeded")


@SUBJECT.must("failed-create", "runtime.md#errors", "A create that fails leaves the environment as it was.")
def failed_create(bench: Bench) -> None:
    bench.refused({"/mounts/-": {"destination": "/tmp", "type": "conformance", "source": "none"}})
