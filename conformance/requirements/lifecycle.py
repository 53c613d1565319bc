"""runtime.md: the state, and the operations create, start, kill and delete."""

import os
import signal
import time

from conformance.bench import Bench
from conformance.bundle import ABSENT, NAMESPACES
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
    for pointer, value in (("/process", ABSENT), ("/process/args", [])):
        container = bench.container({})
        container.rewrite({pointer: value})
        result = container.command("create", "--bundle", container.bundle, container.identifier)
        if result.returncode == 0:
            result = container.command("start", container.identifier)
        expect(result.returncode != 0, "a container without anything to run was started")


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


@SUBJECT.must(
    "state-schema", "runtime.md#state", "The properties of the state are of the types that the schema says."
)
def state_schema(bench: Bench) -> None:
    container = bench.created({"/annotations": {"org.example": "yes"}}, "sleep:20")
    for status in ("created", "running", "stopped"):
        state = container.state()
        expect_equal(state.get("status"), status, "status")
        for name in ("ociVersion", "id", "status", "bundle"):
            expect(isinstance(state.get(name), str), f"{name} is {state.get(name)!r} when {status}")
        expect(isinstance(state.get("pid", 0), int), f"pid is {state.get('pid')!r} when {status}")
        expect(state.get("pid", 0) >= 0, f"pid is {state.get('pid')!r} when {status}")
        strings = all(isinstance(value, str) for value in (state.get("annotations") or {}).values())
        expect(strings, f"annotations are {state.get('annotations')!r}")
        if status == "created":
            container.start()
        elif status == "running":
            container.verb("kill", "KILL")
            container.wait_for("stopped")


@SUBJECT.must(
    "bundle-absolute", "runtime.md#state", "The bundle of the state is absolute, however it was given."
)
def bundle_absolute(bench: Bench) -> None:
    container = bench.container({})
    relative = os.path.relpath(container.bundle)
    result = container.command("create", "--bundle", relative, container.identifier)
    expect_equal(result.returncode, 0, f"exit status of `create` ({result.stderr.strip()[-200:]})")
    expect_equal(container.state().get("bundle"), container.bundle, "bundle")


@SUBJECT.must("no-identifier", "runtime.md#operations", "Each operation without an identifier is an error.")
def no_identifier(bench: Bench) -> None:
    bundle = bench.bundle({})
    for words in (("state",), ("create", "--bundle", bundle), ("start",), ("kill",), ("delete",)):
        expect(bench.command(*words).returncode != 0, f"`{words[0]}` without an identifier succeeded")


@SUBJECT.must("no-bundle", "runtime.md#create", "Create without a bundle is an error.")
def no_bundle(bench: Bench) -> None:
    container = bench.container({})
    for place in (f"{bench.directory}/nowhere", f"{container.bundle}/rootfs"):
        result = container.command("create", "--bundle", place, container.identifier)
        expect(result.returncode != 0, "`create` succeeded without a config.json")
        expect(container.command("state", container.identifier).returncode != 0, "a container was left")


@SUBJECT.must(
    "invalid-id", "runtime.md#create", "An identifier that is a path or empty is an error, and makes nothing."
)
def invalid_id(bench: Bench) -> None:
    bundle = bench.bundle({})
    for wrong in ("../conformance", "a/b", "", "."):
        result = bench.command("create", "--bundle", bundle, wrong)
        if result.returncode == 0:
            bench.command("delete", "--force", wrong)
        expect(result.returncode != 0, f"`create` took the identifier {wrong!r}")
    expect(
        not os.path.exists(f"{bench.directory}/conformance"),
        "something was made outside of the state directory",
    )


@SUBJECT.must(
    "whole-life", "runtime.md#scope-of-a-container", "Who creates a container can use every operation on it."
)
def whole_life(bench: Bench) -> None:
    container = bench.created({}, "sleep:20")
    expect_equal(container.status(), "created", "status after create")
    container.start()
    expect_equal(container.status(), "running", "status after start")
    container.verb("kill", "KILL")
    container.wait_for("stopped")
    container.verb("delete")
    expect(container.command("state", container.identifier).returncode != 0, "the container is still there")


@SUBJECT.must(
    "start-stopped",
    "runtime.md#start",
    "Starting a stopped container is an error, and does not run it again.",
)
def start_stopped(bench: Bench) -> None:
    container = bench.running({}, "exit:0")
    container.wait_for("stopped")
    expect(
        container.command("start", container.identifier).returncode != 0,
        "`start` of a stopped container succeeded",
    )
    expect_equal(container.status(), "stopped", "status afterwards")


@SUBJECT.must("kill-created", "runtime.md#kill", "Kill works on a created container.")
def kill_created(bench: Bench) -> None:
    container = bench.created({})
    container.verb("kill", "KILL")
    container.wait_for("stopped")


def received(bench: Bench, *words: str) -> int:
    """The number of the signal that arrives when `kill` is called with the words."""
    container = bench.running({}, "signals:/tmp/signals")
    container.wait_for_file("tmp/signals", "ready")
    container.verb("kill", *words)
    text = container.wait_for_file("tmp/signals", "ready\n")
    end = time.monotonic() + 10
    while text == "ready\n" and time.monotonic() < end:
        time.sleep(0.02)
        text = container.wait_for_file("tmp/signals", "ready\n")
    return int([*text.split(), "0"][1])


@SUBJECT.must("kill-specified", "runtime.md#kill", "Kill sends the signal that is said, and no other.")
def kill_specified(bench: Bench) -> None:
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH):
        expect_equal(received(bench, str(int(number))), int(number), "signal that arrived")


@SUBJECT.callers("kill-names", "A signal may be a number or a name, with SIG or without.")
def kill_names(bench: Bench) -> None:
    for word in ("USR2", "SIGUSR2", "12"):
        expect_equal(received(bench, word), 12, f"signal that arrived for {word}")


@SUBJECT.callers("kill-default", "The signal of kill is TERM if none is said.")
def kill_default(bench: Bench) -> None:
    expect_equal(received(bench), signal.SIGTERM, "signal that arrived")


@SUBJECT.must(
    "kill-unknown-signal",
    "config.md#valid-values",
    "A signal that does not exist is an error, and sends nothing.",
)
def kill_unknown_signal(bench: Bench) -> None:
    container = bench.running({})
    for word in ("CONFORMANCE", "100"):
        result = container.command("kill", container.identifier, word)
        expect(result.returncode != 0, f"`kill` with the signal {word} succeeded")
    expect_equal(container.status(), "running", "status afterwards")


@SUBJECT.must(
    "delete-leaves-others", "runtime.md#delete", "Delete leaves alone what the container did not make."
)
def delete_leaves_others(bench: Bench) -> None:
    places = [f"{place}{bench.cgroup}" for place in bench.hierarchies()]
    for place in places:
        os.mkdir(place)
    other = bench.running({})
    listed = [{"type": name} for name in NAMESPACES if name != "ipc"]
    joined = [*listed, {"type": "ipc", "path": f"/proc/{other.pid()}/ns/ipc"}]
    source = f"{bench.directory}/source"
    os.mkdir(source)
    mount = {"destination": "/tmp", "type": "none", "source": source, "options": ["bind"]}
    changes = {"/linux/cgroupsPath": f"{bench.cgroup}/child", "/linux/namespaces": joined, "/mounts/-": mount}
    container = bench.running(changes)
    bench.command("delete", "--force", container.identifier)
    for place in places:
        expect(os.path.isdir(place), f"{place} was there before, and is gone")
        expect(not os.path.isdir(f"{place}/child"), f"{place}/child is left")
    expect(os.path.isdir(source), "the source of a bind mount is gone")
    expect_equal(other.status(), "running", "status of the container whose namespace was joined")


@SUBJECT.must(
    "delete-state", "runtime.md#delete", "Delete leaves nothing in the state directory, and no mount."
)
def delete_state(bench: Bench) -> None:
    container = bench.running({}, "exit:0")
    container.wait_for("stopped")
    container.verb("delete")
    left = [name for name in os.listdir(f"{bench.directory}/state") if container.identifier in name]
    expect(not left, f"left in the state directory: {left}")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [
            line.split()[4] for line in file if container.identifier in line or container.bundle in line
        ]
    expect(not mounts, f"mounts that are left: {mounts}")


@SUBJECT.must(
    "failed-create-cgroup", "runtime.md#errors", "A create that fails leaves no cgroup and no process."
)
def failed_create_cgroup(bench: Bench) -> None:
    changes = {
        "/linux/cgroupsPath": bench.cgroup,
        "/mounts/-": {"destination": "/tmp", "type": "conformance", "source": "none"},
    }
    bench.refused(changes)
    expect(not bench.cgroups_left(), f"cgroups that are left: {bench.cgroups_left()}")


@SUBJECT.must("failed-create-id", "runtime.md#errors", "The identifier of a create that failed is free.")
def failed_create_id(bench: Bench) -> None:
    container = bench.container({"/root/path": "nowhere"})
    result = container.command("create", "--bundle", container.bundle, container.identifier)
    expect(result.returncode != 0, "`create` succeeded without a root")
    container.rewrite({"/root/path": "rootfs"})
    container.create()


@SUBJECT.must("failed-operations", "runtime.md#errors", "Operations that fail leave the container as it was.")
def failed_operations(bench: Bench) -> None:
    container = bench.running({"/linux/cgroupsPath": bench.cgroup})
    before = container.state()
    for words in (("start",), ("delete",), ("kill", "CONFORMANCE")):
        container.command(words[0], container.identifier, *words[1:])
    after = container.state()
    for name in ("status", "pid", "bundle", "id"):
        expect_equal(after.get(name), before.get(name), name)


@SUBJECT.must("unknown-properties", "config.md#extensibility", "Properties that are not known are ignored.")
def unknown_properties(bench: Bench) -> None:
    unknown = {"conformance": {"a": [1, None, "x"]}}
    changes = {
        "/conformance": unknown,
        "/process/conformance": unknown,
        "/root/conformance": True,
        "/linux/conformance": unknown,
        "/linux/resources/conformance": unknown,
        "/linux/namespaces/0/conformance": 1,
        "/mounts/0/conformance": "x",
        "/annotations": {"org.example.unknown": "x"},
    }
    bench.look(changes)


@SUBJECT.must("unknown-annotations", "config.md#annotations", "Annotations that are not known are ignored.")
def unknown_annotations(bench: Bench) -> None:
    bench.look({"/annotations": {"org.example.unknown": "x", "conformance": "", "org.opencontainers.x": "y"}})


@SUBJECT.must("invalid-json", "config.md#valid-values", "A config.json that is no JSON object is an error.")
def invalid_json(bench: Bench) -> None:
    for text in ("", "{", "[]", '"text"'):
        container = bench.container({})
        with open(f"{container.bundle}/config.json", "w", encoding="utf-8") as file:
            file.write(text)
        result = container.command("create", "--bundle", container.bundle, container.identifier)
        expect(result.returncode != 0, f"`create` took {text!r} for a config")


WRONG_VALUES: dict[str, tuple[str, object]] = {
    "type of a property": ("/process/cwd", 5),
    "type of an array": ("/process/args", "/probe"),
    "type of an entry": ("/process/args", ["/probe", 5]),
    "type of an object": ("/root", "rootfs"),
    "negative id": ("/process/user", {"uid": -1, "gid": 0}),
    "type of annotations": ("/annotations", {"key": 5}),
    "propagation": ("/linux/rootfsPropagation", "conformance"),
}


@SUBJECT.must("invalid-values", "config.md#valid-values", "Values that are invalid are an error.")
def invalid_values(bench: Bench) -> None:
    for what, (pointer, value) in WRONG_VALUES.items():
        container = bench.container({pointer: value} if pointer != "/process/args" else {})
        container.rewrite({pointer: value})
        result = container.command("create", "--bundle", container.bundle, container.identifier)
        expect(result.returncode != 0, f"`create` accepted a wrong {what}: {pointer} is {value!r}")


@SUBJECT.must(
    "version-invalid",
    "config.md#specification-version",
    "A missing ociVersion, or a later major one, is an error.",
)
def version_invalid(bench: Bench) -> None:
    for version in (ABSENT, "7.0.0", "one"):
        container = bench.container({"/ociVersion": version})
        result = container.command("create", "--bundle", container.bundle, container.identifier)
        expect(
            result.returncode != 0,
            f"`create` took the version {'that is missing' if version is ABSENT else version}",
        )


@SUBJECT.must("root-required", "config.md#root", "A config without root is an error.")
def root_required(bench: Bench) -> None:
    bench.refused({"/root": ABSENT})
