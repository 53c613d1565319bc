"""config-linux.md, seccomp: SCMP_ACT_NOTIFY and the message that the listener gets."""

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import uuid
from collections.abc import Iterator
from typing import Any

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.container import Container
from conformance.expect import BrokenError, expect, expect_equal
from conformance.requirement import Subject
from conformance.requirements.seccomp import SYSINFO, filter_of, number

SUBJECT = Subject("seccomp-notify")
ANCHOR = "config-linux.md#seccomp"
STATE = "config-linux.md#the-container-process-state"
# <linux/seccomp.h>: the sizes are those of the kernel since 5.0.
RECEIVE, SEND = 0xC0502100, 0xC0182101
NOTIFICATION, RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
SECONDS = 15.0


class Listener:
    """A socket to which a runtime sends the descriptor of a filter, and what came."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(path)
        self.server.listen(4)
        self.server.settimeout(SECONDS)
        self.descriptors: list[int] = []
        self.per_message: list[int] = []

    def accept(self) -> JsonObject:
        """The state of the next connection, which must end by itself."""
        try:
            connection, _ = self.server.accept()
        except TimeoutError:
            raise BrokenError("nobody connected to listenerPath") from None
        content = b""
        with connection:
            connection.settimeout(SECONDS)
            while True:
                try:
                    part, found, _, _ = socket.recv_fds(connection, 1 << 16, 8)
                except TimeoutError:
                    raise BrokenError("the connection was not closed after the state") from None
                if not part:
                    break
                content += part
                self.per_message.append(len(found))
                self.descriptors += found
        try:
            state: Any = json.loads(content)
        except json.JSONDecodeError:
            raise BrokenError(f"the message is no JSON: {content[:200]!r}") from None
        expect(isinstance(state, dict), f"the message is no object: {state!r}")
        return dict(state)

    def connections_waiting(self) -> int:
        self.server.settimeout(0)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self.server.accept()[0].close()
                count += 1
        return count

    def answer(self, error: int) -> int:
        """Let the call that waits fail with the error; returns its number."""
        descriptor = self.descriptors[0]
        if not select.select([descriptor], [], [], SECONDS)[0]:
            raise BrokenError("no call was notified at the descriptor that was sent")
        request = array.array("B", bytes(NOTIFICATION.size))
        fcntl.ioctl(descriptor, RECEIVE, request)
        identifier, _pid, _flags, call, *_ = NOTIFICATION.unpack(request.tobytes())
        fcntl.ioctl(descriptor, SEND, RESPONSE.pack(identifier, 0, -error, 0))
        return int(call)

    def close(self) -> None:
        self.server.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@contextlib.contextmanager
def listening(bench: Bench) -> Iterator[Listener]:
    listener = Listener(f"{bench.directory}/{uuid.uuid4().hex[:8]}.sock")
    try:
        yield listener
    finally:
        listener.close()


def notifying(bench: Bench, listener: Listener, *questions: str) -> Container:
    seccomp = {
        **filter_of("SCMP_ACT_NOTIFY"),
        "listenerPath": listener.path,
        "listenerMetadata": "some: data",
    }
    return bench.created({"/linux/seccomp": seccomp, "/annotations": {"org.example": "yes"}}, *questions)


@SUBJECT.must("state", STATE, "The listener gets the state of the container's process as JSON.")
def state_arrives(bench: Bench) -> None:
    with listening(bench) as listener:
        container = notifying(bench, listener, "sleep:20")
        found = listener.accept()
        expect_equal(found.get("pid"), container.pid(), "pid")
        expect(isinstance(found.get("ociVersion"), str), f"ociVersion is {found.get('ociVersion')!r}")
        state = found.get("state") or {}
        expect_equal(state.get("id"), container.identifier, "id in the state of the container")
        expect_equal(state.get("bundle"), container.bundle, "bundle in the state of the container")
        expect_equal(state.get("pid"), container.pid(), "pid in the state of the container")
        expect_equal(
            state.get("annotations"), {"org.example": "yes"}, "annotations in the state of the container"
        )


@SUBJECT.must("descriptor", STATE, "The filter's descriptor is sent with it, and named in `fds`.")
def descriptor(bench: Bench) -> None:
    with listening(bench) as listener:
        notifying(bench, listener, "sleep:20")
        found = listener.accept()
        expect_equal(found.get("fds"), ["seccompFd"], "fds")
        expect_equal(len(listener.descriptors), 1, "descriptors that came")
        shown = os.readlink(f"/proc/self/fd/{listener.descriptors[0]}")
        expect("seccomp" in shown, f"the descriptor is of {shown}")


@SUBJECT.must("descriptor-first", STATE, "The descriptor comes with the first message of the connection.")
def descriptor_first(bench: Bench) -> None:
    with listening(bench) as listener:
        notifying(bench, listener, "sleep:20")
        listener.accept()
        expect_equal(listener.per_message[0], 1, "descriptors in the first message")


@SUBJECT.must("metadata", STATE, "listenerMetadata is sent as `metadata`.")
def metadata(bench: Bench) -> None:
    with listening(bench) as listener:
        notifying(bench, listener, "sleep:20")
        expect_equal(listener.accept().get("metadata"), "some: data", "metadata")


@SUBJECT.must("one-state", ANCHOR, "One connection carries one state, and is closed.")
def one_state(bench: Bench) -> None:
    with listening(bench) as listener:
        notifying(bench, listener, "sleep:20")
        listener.accept()
        expect_equal(listener.connections_waiting(), 0, "further connections for one process")


@SUBJECT.must("answer", ANCHOR, "A call is answered by whoever has the descriptor.")
def answer(bench: Bench) -> None:
    with listening(bench) as listener:
        seccomp = {**filter_of("SCMP_ACT_NOTIFY"), "listenerPath": listener.path}
        question = f"call:{number(SYSINFO)}"
        container = bench.created({"/linux/seccomp": seccomp}, "into:/tmp/report", question)
        listener.accept()
        container.start()
        expect_equal(listener.answer(77), number(SYSINFO), "number of the call")
        container.wait_for("stopped")
        with open(f"{container.bundle}/rootfs/tmp/report", encoding="utf-8") as file:
            expect_equal(json.load(file)[question], {"errno": 77}, "what the call answered")


@SUBJECT.must("exec", ANCHOR, "A process of `exec` has a filter and a connection of its own.")
def exec_notifies(bench: Bench) -> None:
    with listening(bench) as listener:
        container = notifying(bench, listener, "sleep:20")
        listener.accept()
        container.start()
        container.exec()
        found = listener.accept()
        expect_equal((found.get("state") or {}).get("id"), container.identifier, "id in the state")
        expect(found.get("pid") not in (None, container.pid()), f"pid is {found.get('pid')}")


@SUBJECT.must("no-listener", ANCHOR, "A listenerPath that nobody listens at is an error.")
def no_listener(bench: Bench) -> None:
    bench.refused(
        {"/linux/seccomp": {**filter_of("SCMP_ACT_NOTIFY"), "listenerPath": f"{bench.directory}/nobody"}}
    )


@SUBJECT.must("ignored-listener", ANCHOR, "Without SCMP_ACT_NOTIFY listenerPath is ignored.")
def ignored_listener(bench: Bench) -> None:
    bench.look(
        {"/linux/seccomp": {**filter_of("SCMP_ACT_ERRNO"), "listenerPath": f"{bench.directory}/nobody"}}
    )
