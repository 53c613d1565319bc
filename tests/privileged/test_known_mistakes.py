"""What runtimes have got wrong before: each test fails when the mistake is made again."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


def status_of(runtime: Runtime, edit: Any, *more: str) -> dict[str, str]:
    out = runtime.run("cat", "/proc/self/status", *more, edit=edit).stdout
    return dict(line.split(":\t", 1) for line in out.splitlines() if ":\t" in line)


def capabilities(value: dict[str, list[str]] | None) -> Any:
    def edit(config: dict[str, Any]) -> None:
        if value is None:
            config["process"].pop("capabilities", None)
        else:
            config["process"]["capabilities"] = value

    return edit


def masks(status: dict[str, str]) -> list[int]:
    return [int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")]


def test_without_capabilities_there_are_none_not_even_in_the_bounding_set(runtime: Runtime) -> None:
    assert masks(status_of(runtime, capabilities(None))) == [0, 0, 0, 0, 0]
    assert masks(status_of(runtime, capabilities({}))) == [0, 0, 0, 0, 0]


def test_inheritable_and_ambient_are_never_filled_by_themselves(runtime: Runtime) -> None:
    some = ["CAP_CHOWN", "CAP_KILL"]
    wanted = {"bounding": some, "effective": some, "permitted": some, "ambient": ["CAP_KILL"]}
    assert masks(status_of(runtime, capabilities(wanted))) == [0x21, 0x21, 0x21, 0, 0]
    ambient = {**wanted, "inheritable": ["CAP_KILL"]}
    assert masks(status_of(runtime, capabilities(ambient)))[3:] == [0x20, 0x20]


def test_a_capability_that_nobody_knows_is_no_reason_to_fail(runtime: Runtime) -> None:
    wanted = {"bounding": ["CAP_TIME_TRAVEL", "CAP_KILL"]}
    assert masks(status_of(runtime, capabilities(wanted)))[0] == 0x20


def test_an_ambient_capability_survives_another_user(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        every = ["CAP_KILL"]
        sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
        config["process"]["capabilities"] = dict.fromkeys(sets, every)
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    assert masks(status_of(runtime, edit)) == [0x20] * 5


def test_the_pid_file_holds_digits_and_nothing_else(runtime: Runtime) -> None:
    name, path = runtime.new_id(), runtime.directory / "pid"
    runtime.call("create", "--bundle", str(runtime.bundle("true")), "--pid-file", str(path), name)
    assert path.read_bytes() == str(runtime.state(name)["pid"]).encode()
    assert [entry.name for entry in runtime.directory.iterdir() if "pid" in entry.name] == ["pid"]


def test_a_zombie_is_stopped_and_its_pid_is_nobodys(runtime: Runtime) -> None:
    name = runtime.new_id()
    command = [*runtime.command, "run", "--detach", "--bundle", str(runtime.bundle("sleep", "0.2")), name]
    # This process becomes the parent of the container's init and does not wait for it.
    script = "import ctypes, subprocess, sys, time; ctypes.CDLL(None).prctl(36, 1)\n"
    script += "subprocess.run(sys.argv[1:], check=True); print('up', flush=True); time.sleep(30)"
    keeper = subprocess.Popen(
        ["python3", "-c", script, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "up\n"
        time.sleep(0.5)
        state = runtime.state(name)
        assert (state["status"], state["pid"]) == ("stopped", 0)
        refused = runtime.call("kill", name, "KILL", check=False)
        assert "container not running" in refused.stderr
        runtime.call("delete", name)
    finally:
        keeper.kill()
        keeper.communicate()


def test_to_delete_by_force_what_is_not_there_is_no_error(runtime: Runtime) -> None:
    assert runtime.call("delete", "--force", "nobody").stdout == ""
    refused = runtime.call("delete", "nobody", check=False)
    assert (refused.returncode, "does not exist" in refused.stderr) == (1, True)


@pytest.mark.parametrize("hidden", ["/proc/kcore", "/etc/secret"])
def test_a_mask_is_the_null_device_whatever_the_image_calls_so(runtime: Runtime, hidden: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["maskedPaths"] = [hidden]
        # The image's own /dev: nothing is mounted over it.
        config["mounts"] = [
            mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")
        ]

    bundle = runtime.bundle("cat", hidden, edit=edit)
    (bundle / "rootfs/etc/secret").write_text("secret")
    (bundle / "rootfs/etc/other").write_text("planted")
    (bundle / "rootfs/dev/null").symlink_to("/etc/other")
    done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert "secret" not in done.stdout
    assert "planted" not in done.stdout


def test_a_link_out_of_the_image_leads_nowhere(runtime: Runtime) -> None:
    outside = runtime.directory / "outside"
    outside.mkdir()

    def edit(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/link/made", "type": "tmpfs", "source": "x"})
        config["linux"]["devices"] = [
            {"type": "c", "path": "/link/device", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}
        ]
        config["process"]["cwd"] = "/link/cwd"

    bundle = runtime.bundle("pwd", edit=edit)
    (bundle / "rootfs/link").symlink_to(f"/../../../../../..{outside}")
    runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert list(outside.iterdir()) == []


def test_descriptors_of_the_host_are_no_working_directory(runtime: Runtime) -> None:
    held = os.open("/", os.O_RDONLY)
    bundle = runtime.bundle("ls")
    original = (bundle / "config.json").read_text()
    try:
        for number in sorted({*range(3, 9), held}):
            config = json.loads(original)
            config["process"]["cwd"] = f"/proc/self/fd/{number}"
            (bundle / "config.json").write_text(json.dumps(config))
            done = runtime.call(
                "run", "--bundle", str(bundle), runtime.new_id(), check=False, pass_fds=[held]
            )
            assert done.returncode != 0
            assert "boot" not in done.stdout
    finally:
        os.close(held)


def test_no_program_of_the_host_can_be_executed_through_a_descriptor_of_the_runtime(runtime: Runtime) -> None:
    # Close-on-exec is too late: the kernel looks the program up before it closes anything (CVE-2024-21626).
    program = "../../../../../../../.." + os.path.realpath(shutil.which("busybox") or "/bin/busybox")
    name = runtime.new_id()
    bundle = runtime.bundle("sleep", "100")
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    config = json.loads((bundle / "config.json").read_text())
    for number in range(3, 12):
        path = f"/proc/self/fd/{number}/{program}"
        done = runtime.call("exec", name, path, "echo", "escaped", check=False)
        assert (done.returncode, done.stdout) == (255, "")
        config["process"]["args"] = [path, "echo", "escaped"]
        (bundle / "config.json").write_text(json.dumps(config))
        done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
        assert (done.returncode, done.stdout) == (1, "")


def test_the_groups_of_the_caller_stay_only_where_the_config_says_so(runtime: Runtime) -> None:
    def annotated(config: dict[str, Any]) -> None:
        config["annotations"] = {"run.oci.keep_original_groups": "1"}

    for edit, expected in ((None, ""), (annotated, "4242")):
        bundle = str(runtime.bundle("grep", "Groups", "/proc/self/status", edit=edit))
        out = runtime.call(
            "run", "--bundle", bundle, runtime.new_id(), preexec_fn=lambda: os.setgroups([4242])
        ).stdout
        assert out.removeprefix("Groups:").strip() == expected


def test_poststop_hooks_see_that_nothing_is_left_and_one_failure_does_not_end_them(runtime: Runtime) -> None:
    log = runtime.directory / "log"
    name = runtime.new_id()
    groups = f"find /sys/fs/cgroup -name {name} | wc -l >> {log}"

    def edit(config: dict[str, Any]) -> None:
        config["hooks"] = {
            "poststop": [
                {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]},
                {"path": "/bin/sh", "args": ["sh", "-c", groups]},
            ]
        }

    runtime.call("run", "--bundle", str(runtime.bundle("true", edit=edit)), name)
    assert Path(log).read_text().split() == ["0"]


def test_what_an_image_calls_the_null_device_is_not_opened_before_it_is_known(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["mounts"] = [
            mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")
        ]
        config["linux"]["maskedPaths"] = []
        config["linux"]["devices"] = [{"path": "/dev/null", "type": "p"}]

    done = runtime.run("true", edit=edit, check=False)
    assert done.returncode == 1
    assert "/dev/null of the container is not the null device" in done.stderr
