"""Network devices of the host in a container, with two ends of a virtual cable."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a cable, with addresses; both ends vanish with either of them."""
    name, other = f"t{os.getpid()}a", f"t{os.getpid()}b"
    ip("link", "add", name, "type", "veth", "peer", "name", other)
    try:
        ip("address", "add", "192.0.2.7/24", "dev", name)
        ip("address", "add", "2001:db8::7/64", "dev", name, "nodad")
        ip("link", "set", name, "up")
        yield name
    finally:
        subprocess.run(["ip", "link", "del", other], check=False, capture_output=True)


def asking(device: str, new_name: str) -> Any:
    return lambda config: config["linux"].update(netDevices={device: {"name": new_name} if new_name else {}})


@pytest.mark.parametrize(("asked", "expected"), [("", ""), ("inside0", "inside0"), ("box%d", "box0")])
def test_a_device_moves_with_its_addresses(runtime: Runtime, device: str, asked: str, expected: str) -> None:
    name = runtime.new_id()
    bundle = runtime.bundle("sleep", "100", edit=asking(device, asked))
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    pid = str(runtime.state(name)["pid"])
    shown = subprocess.run(
        ["nsenter", "--target", pid, "--net", "ip", "address", "show", "dev", expected or device],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "192.0.2.7/24" in shown
    assert "2001:db8::7/64" in shown
    assert ",UP" in shown
    assert device not in os.listdir("/sys/class/net")


def test_a_device_that_is_not_there_or_a_name_that_is_taken_leaves_no_container(
    runtime: Runtime, device: str
) -> None:
    missing = runtime.run("true", edit=asking("nodevice0", "x"), check=False)
    assert missing.returncode == 1
    assert "move the network device nodevice0 into the container as x: no such device" in missing.stderr
    assert "/linux/netDevices/nodevice0" in missing.stderr
    taken = runtime.run("true", edit=asking(device, "lo"), check=False)
    assert taken.returncode == 1
    assert "file exists" in taken.stderr
    assert ",UP" in ip("link", "show", "dev", device), "a device that stays is as it was"
    assert runtime.leftovers() == []


@pytest.mark.parametrize(
    ("name", "new_name", "pointer"),
    [("x" * 16, "", "/linux/netDevices/xxxxxxxxxxxxxxxx"), ("eth0", "a b", "/linux/netDevices/eth0/name"),
     ("eth0", "a:b", "/linux/netDevices/eth0/name"), ("a/b", "", "/linux/netDevices/a~1b")],
)  # fmt: skip
def test_names_that_are_none_are_refused(runtime: Runtime, name: str, new_name: str, pointer: str) -> None:
    done = runtime.run("true", edit=asking(name, new_name), check=False)
    assert done.returncode == 1
    assert f"({pointer})" in done.stderr


def test_without_a_network_namespace_there_is_nowhere_to_move(runtime: Runtime, device: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        asking(device, "")(config)
        kinds = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [entry for entry in kinds if entry["type"] != "network"]

    done = runtime.run("true", edit=edit, check=False)
    assert "netDevices need a private network namespace" in done.stderr
    assert device in os.listdir("/sys/class/net")
