"""Containers through the library: the examples of docs/library.md, and what happens around them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pyruntime import api
from tests.library_examples import examples, run_example
from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


@pytest.fixture
def library(runtime: Runtime) -> api.Runtime:
    return api.Runtime(str(runtime.root))


def test_the_examples_about_containers(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"bundle": runtime.bundle("echo", "hello"), "sleeping": runtime.bundle("sleep", "100")}
    names: dict[str, Any] = {"root": str(runtime.root), **{name: str(path) for name, path in places.items()}}
    found = examples("Containers")
    assert len(found) == 4
    for line, code in found:
        run_example(line, code, names)
    assert runtime.leftovers() == []


def test_the_command_line_and_the_library_see_the_same_containers(
    runtime: Runtime, library: api.Runtime
) -> None:
    name = runtime.new_id()
    runtime.call("create", "--bundle", str(runtime.bundle("sleep", "100")), name)
    container = library.container(name)
    container.start()
    assert runtime.state(name)["status"] == container.state().status == "running"
    container.kill(9)
    assert container.wait(10) is None, "its exit code is not ours to know"
    container.delete()
    assert library.containers() == []
    assert runtime.leftovers() == []


def test_streams_go_where_they_are_sent_whatever_their_numbers(
    runtime: Runtime, library: api.Runtime
) -> None:
    bundle = str(runtime.bundle("sh", "-c", "cat; echo out; echo err >&2"))
    with (runtime.directory / "in").open("w+b") as source:
        source.write(b"from stdin\n")
        source.flush()
        source.seek(0)
        streams = [os.memfd_create(name) for name in ("out", "err")]
        try:
            code = library.run(
                bundle, runtime.new_id(), stdin=source.fileno(), stdout=streams[0], stderr=streams[1]
            )
            assert [os.pread(stream, 100, 0) for stream in streams] == [b"from stdin\nout\n", b"err\n"]
        finally:
            for stream in streams:
                os.close(stream)
    assert code == 0


def test_streams_may_change_places(runtime: Runtime) -> None:
    """In a process of its own, whose standard streams are the descriptors that are exchanged."""
    bundle = str(runtime.bundle("sh", "-c", "echo out; echo err >&2"))
    program = (
        "import sys; from pyruntime.api import Runtime\n"
        f"sys.exit(Runtime({str(runtime.root)!r}).run({bundle!r}, {runtime.new_id()!r}, stdout=2, stderr=1))"
    )
    tree = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tree, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"err\n", b"out\n")


def test_what_takes_too_long_is_killed_and_leaves_nothing(runtime: Runtime, library: api.Runtime) -> None:
    bundle = str(runtime.bundle("sleep", "100"))
    with pytest.raises(TimeoutError):
        library.run(bundle, runtime.new_id(), timeout=0.2)
    container = library.create(bundle, runtime.new_id())
    container.start()
    with pytest.raises(TimeoutError):
        container.exec(["sleep", "100"], timeout=0.2)
    with pytest.raises(TimeoutError):
        container.wait(0.1)
    container.delete(force=True)
    assert container.wait() == 137
    assert runtime.leftovers() == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_cannot_be_started_is_said_and_leaves_nothing(runtime: Runtime, library: api.Runtime) -> None:
    with pytest.raises(api.StepError, match="no such file"):
        library.run(str(runtime.bundle("/absent")), runtime.new_id())

    def wrong(config: dict[str, Any]) -> None:
        config["linux"]["maskedPaths"] = ["relative"]

    bundle = str(runtime.bundle("true", edit=wrong))
    with pytest.raises(api.SpecError) as caught:
        library.create(bundle, runtime.new_id())
    assert caught.value.where == "/linux/maskedPaths/0"
    assert [fault.where for fault in library.validate(bundle)] == ["/linux/maskedPaths/0"]

    def terminal(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True

    with pytest.raises(api.UsageError, match="terminal"):
        library.create(str(runtime.bundle("true", edit=terminal)), runtime.new_id())
    assert runtime.leftovers() == []


def test_threads_and_tasks_make_containers_at_once(runtime: Runtime, library: api.Runtime) -> None:
    bundle = str(runtime.bundle("sh", "-c", "exit 7"))
    names = [runtime.new_id() for _ in range(8)]
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda name=name: codes.append(library.run(bundle, name)))
        for name in names[:4]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    async def together() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(library.run, bundle, name) for name in names[4:]))

    assert codes + asyncio.run(together()) == [7] * 8
    assert runtime.leftovers() == []
