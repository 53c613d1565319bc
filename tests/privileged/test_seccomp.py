"""Seccomp in the kernel: a process outside answers for the container's system calls."""

import array
import fcntl
import json
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
NOTIFICATION, RESPONSE = "<QIIiIQ6Q", "<QqiI"
ENOTTY = 25


class Agent(threading.Thread):
    """Takes one descriptor over a socket and answers its notifications, each with ENOTTY."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(4)
        self.listener.settimeout(20)
        self.messages: list[dict[str, Any]] = []
        self.numbers: list[int] = []

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        data, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        while chunk := connection.recv(1 << 16):
            data += chunk
        connection.close()
        self.messages.append(json.loads(data))
        (descriptor,) = array.array("i", ancillary[0][2])
        while True:
            notification = bytearray(80)
            try:
                fcntl.ioctl(descriptor, RECEIVE, notification)
            except OSError:
                os.close(descriptor)
                return
            identity, _pid, _flags, number, *_ = struct.unpack_from(NOTIFICATION, notification)
            self.numbers.append(number)
            fcntl.ioctl(descriptor, SEND, bytearray(struct.pack(RESPONSE, identity, 0, -ENOTTY, 0)))


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_listener_gets_the_descriptor_and_the_state(runtime: Runtime, no_new_privileges: bool) -> None:
    agent = Agent(runtime.directory / "agent.sock")
    agent.start()

    def edit(config: dict[str, Any]) -> None:
        config["process"]["noNewPrivileges"] = no_new_privileges
        config["annotations"] = {"a": "b"}
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(runtime.directory / "agent.sock"),
            "listenerMetadata": "for you",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        }

    bundle = runtime.bundle("sh", "-c", "mkdir /tmp/x; exec sleep 60", edit=edit)
    container_id = runtime.new_id()
    try:
        runtime.call("create", "--bundle", str(bundle), container_id)
        pid = runtime.state(container_id)["pid"]
        (message,) = agent.messages
        assert message["fds"] == ["seccompFd"]
        assert message["pid"] == pid, "the pid of the host, not that of the container"
        assert message["metadata"] == "for you"
        assert message["ociVersion"]
        state = message["state"]
        assert (state["id"], state["status"], state["pid"]) == (container_id, "creating", pid)
        assert (state["bundle"], state["annotations"]) == (str(bundle), {"a": "b"})
        runtime.call("start", container_id)
        done = runtime.call("exec", container_id, "mkdir", "/tmp/y", check=False)
        assert "Inappropriate ioctl" in done.stderr or "Not a tty" in done.stderr
        assert done.returncode == 1
        executed = agent.messages[1]
        assert executed["pid"] != pid
        assert (executed["state"]["status"], executed["state"]["pid"]) == ("running", pid)
        deadline = time.monotonic() + 10
        while len(agent.numbers) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(agent.numbers) == 2
    finally:
        runtime.call("delete", "--force", container_id, check=False)
        agent.listener.close()


@pytest.mark.parametrize("action", ["SCMP_ACT_NOTIFY", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_the_descriptor_is_handed_over_whatever_the_filter_says_of_the_call_for_that(
    runtime: Runtime, action: str
) -> None:
    agent = Agent(runtime.directory / "agent.sock")
    agent.start()

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(runtime.directory / "agent.sock"),
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"},
                {"names": ["sendmsg", "sendmmsg", "sendto", "clone3", "wait4"], "action": action},
            ],
        }
        config["process"]["args"] = ["mkdir", "/tmp/x"]

    try:
        done = runtime.run(edit=edit, check=False)
        assert "Inappropriate ioctl" in done.stderr or "Not a tty" in done.stderr
        assert done.returncode == 1
    finally:
        agent.listener.close()
    assert len(agent.messages) == 1


def test_without_a_listener_there_is_no_container(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(runtime.directory / "nobody.sock"),
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
        }

    done = runtime.run("true", edit=edit, check=False)
    assert done.returncode == 1
    assert "cannot connect to the seccomp listener: no such file or directory" in done.stderr
    assert runtime.leftovers() == []


# action -> (errnoRet, exit code, what is said)
ACTIONS = {
    "KILL": (None, 128 + 31, ""),
    "KILL_THREAD": (None, 128 + 31, ""),
    "KILL_PROCESS": (None, 128 + 31, ""),
    "TRAP": (None, 128 + 31, ""),
    "ERRNO": (71, 1, "Protocol error"),
    "TRACE": (7, 1, "Function not implemented"),  # without a tracer
    "LOG": (None, 0, ""),
    "ALLOW": (None, 0, ""),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action(runtime: Runtime, action: str) -> None:
    errno, code, said = ACTIONS[action]
    rule: dict[str, Any] = {"names": ["mkdir", "mkdirat", "no_such_call"], "action": f"SCMP_ACT_{action}"}
    if errno is not None:
        rule["errnoRet"] = errno

    def edit(config: dict[str, Any]) -> None:
        default = "SCMP_ACT_LOG" if action == "ALLOW" else "SCMP_ACT_ALLOW"
        config["linux"]["seccomp"] = {"defaultAction": default, "syscalls": [rule]}

    done = runtime.run("mkdir", "/tmp/x", edit=edit, check=False)
    assert done.returncode == code
    assert said in done.stderr


@pytest.mark.parametrize("flags", [[], ["TSYNC"], ["LOG"], ["SPEC_ALLOW"], ["LOG", "WAIT_KILLABLE_RECV"]])
def test_each_flag(runtime: Runtime, flags: list[str]) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": [f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71}],
        }

    done = runtime.run("mkdir", "/tmp/x", edit=edit, check=False)
    assert "Protocol error" in done.stderr
    status = runtime.run("grep", "Seccomp", "/proc/self/status", edit=edit).stdout.split()
    assert status == ["Seccomp:", "2", "Seccomp_filters:", "1"]
    speculation = runtime.run("grep", "Speculation_Store", "/proc/self/status", edit=edit).stdout
    if "not vulnerable" not in speculation and flags == ["SPEC_ALLOW"]:
        assert "force" not in speculation


def test_a_cache_that_others_can_write_to_is_named_and_not_used(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    cache = runtime.root / ".seccomp"
    assert "seccomp filters" not in runtime.run("true", edit=edit).stderr
    assert len(list(cache.iterdir())) == 1
    cache.chmod(0o777)
    for path in cache.iterdir():
        path.write_bytes(b"\x06\0\0\0\0\0\xff\x7f")  # allow everything
    done = runtime.run("mkdir", "/tmp/x", edit=edit, check=False)
    assert "Protocol error" in done.stderr
    assert f"because {cache} is not used: others may write to it" in done.stderr
