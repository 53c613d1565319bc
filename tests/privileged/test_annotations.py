"""Annotations of crun that podman, cri-o and their users set."""

import array
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


def annotated(**values: str) -> Any:
    def edit(config: dict[str, Any]) -> None:
        config["annotations"] = {f"run.oci.{key.replace('__', '.')}": value for key, value in values.items()}

    return edit


def test_hooks_log_what_they_print(runtime: Runtime, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("before\n")

    def edit(config: dict[str, Any]) -> None:
        annotated(hooks__stdout=str(out), hooks__stderr=str(err))(config)
        config["hooks"] = {
            name: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {name}; echo {name}-error >&2"]}]
            for name in (
                "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
            )
        }  # fmt: skip

    runtime.run("true", edit=edit)
    order = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    assert out.read_text().split() == ["before", *order]
    assert err.read_text().split() == [f"{name}-error" for name in order]


def test_a_log_that_cannot_be_opened_leaves_no_container(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        annotated(hooks__stdout="/no/such/folder/log")(config)
        config["hooks"] = {"createContainer": [{"path": "/bin/true"}]}

    done = runtime.run("true", edit=edit, check=False)
    assert "cannot open the log of the hooks /no/such/folder/log: no such file or directory" in done.stderr
    assert runtime.leftovers() == []


def test_the_receiver_gets_a_pidfd(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "pidfd"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(10)
        name = runtime.new_id()
        bundle = runtime.bundle("sleep", "100", edit=annotated(pidfd_receiver=str(path)))
        runtime.call("create", "--bundle", str(bundle), name)
        connection, _ = listening.accept()
        with connection:
            _, [(_, _, data)], _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    descriptor = array.array("i", data[:4])[0]
    found = [
        line for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines() if "Pid:" in line
    ]
    assert int(found[0].split()[1]) == json.loads(runtime.call("state", name).stdout)["pid"]


def test_an_unknown_system_call_is_an_error_where_that_is_asked_for(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        annotated(seccomp_fail_unknown_syscall="1")(config)
        rule = {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO"}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    done = runtime.run("true", edit=edit, check=False)
    assert done.returncode == 1
    assert "unknown system call 'no_such_call'" in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"handler": "wasm"}, "annotation run.oci.handler is not supported"),
        ({"seccomp_bpf_data": "AAAA"}, "annotation run.oci.seccomp_bpf_data is not supported"),
        ({"seccomp__plugins": "/x.so"}, "annotation run.oci.seccomp.plugins is not supported"),
        ({"mount_context_type": "none"}, "unknown mount context type 'none'"),
        ({"hooks__stdout": "relative"}, "annotation run.oci.hooks.stdout is not a path"),
    ],
)
def test_what_would_run_otherwise_than_asked_is_refused(
    runtime: Runtime, values: dict[str, str], said: str
) -> None:
    done = runtime.run("true", edit=annotated(**values), check=False)
    assert done.returncode == 1
    assert said in done.stderr


def test_what_is_ignored_is_said(runtime: Runtime) -> None:
    done = runtime.run("true", edit=annotated(systemd__force_cgroup_v1="/sys/fs/cgroup"))
    assert "ignoring the annotation run.oci.systemd.force_cgroup_v1" in done.stderr
