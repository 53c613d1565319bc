"""config.md: when hooks run, with what on standard input, and what their failure does."""

import json
import os
import time

from conformance.bench import Bench
from conformance.expect import BrokenError, expect, expect_equal
from conformance.requirement import Subject

SUBJECT = Subject("hooks")
ANCHOR = "config.md#posix-platform-hooks"


def noting(path: str, status: int = 0) -> dict[str, object]:
    """A hook that appends what it reads to the file, in one line."""
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {path}; echo >> {path}; exit {status}"]}


def states_in(path: str) -> list[dict[str, object]]:
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def first_state(path: str) -> dict[str, object]:
    """The first state in the file; hooks after `start` may still be running when it returns."""
    for _ in range(100):
        if found := states_in(path):
            return found[0]
        time.sleep(0.02)
    raise BrokenError("the hook did not run")


@SUBJECT.must(
    "create-runtime", ANCHOR, "createRuntime hooks run during create, with the state on standard input."
)
def create_runtime(bench: Bench) -> None:
    path = f"{bench.directory}/notes"
    container = bench.created({"/hooks": {"createRuntime": [noting(path)]}})
    state = first_state(path)
    expect_equal(state.get("id"), container.identifier, "id")
    expect_equal(state.get("bundle"), container.bundle, "bundle")
    expect_equal(state.get("pid"), container.pid(), "pid")


@SUBJECT.must("create-runtime-status", ANCHOR, "The state of createRuntime hooks has the status creating.")
def create_runtime_status(bench: Bench) -> None:
    path = f"{bench.directory}/notes"
    bench.created({"/hooks": {"createRuntime": [noting(path)]}})
    expect_equal(first_state(path).get("status"), "creating", "status")


@SUBJECT.must("failing", ANCHOR, "A failing createRuntime hook fails create.")
def failing(bench: Bench) -> None:
    bench.refused({"/hooks": {"createRuntime": [noting(f"{bench.directory}/notes", 1)]}})


@SUBJECT.must("order", ANCHOR, "Hooks of one kind run in the order listed.")
def order(bench: Bench) -> None:
    path = f"{bench.directory}/order"
    hooks = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {letter} >> {path}"]} for letter in "abc"]
    bench.created({"/hooks": {"createRuntime": hooks}})
    with open(path, encoding="utf-8") as file:
        expect_equal(file.read().split(), ["a", "b", "c"], "order")


@SUBJECT.must("poststart", ANCHOR, "poststart hooks run after start, not before.")
def poststart(bench: Bench) -> None:
    path = f"{bench.directory}/notes"
    container = bench.created({"/hooks": {"poststart": [noting(path)]}}, "sleep:20")
    expect(not states_in(path), "the hook ran before `start`")
    container.start()
    first_state(path)


@SUBJECT.must("poststop", ANCHOR, "poststop hooks run when the container is deleted.")
def poststop(bench: Bench) -> None:
    path = f"{bench.directory}/notes"
    container = bench.running({"/hooks": {"poststop": [noting(path)]}}, "exit:0")
    container.wait_for("stopped")
    expect(not states_in(path), "the hook ran before `delete`")
    container.verb("delete")
    expect_equal(first_state(path).get("id"), container.identifier, "id")


@SUBJECT.must("poststop-failing", ANCHOR, "A failing poststop hook does not keep the others from running.")
def poststop_failing(bench: Bench) -> None:
    path = f"{bench.directory}/notes"
    hooks = [noting(f"{bench.directory}/other", 1), noting(path)]
    container = bench.running({"/hooks": {"poststop": hooks}}, "exit:0")
    container.wait_for("stopped")
    bench.command("delete", container.identifier)
    first_state(path)
    expect(bench.command("state", container.identifier).returncode != 0, "the container is still there")


@SUBJECT.must("absolute", ANCHOR, "A hook whose path is not absolute is an error.")
def absolute(bench: Bench) -> None:
    bench.refused({"/hooks": {"createRuntime": [{"path": "bin/true"}]}})
