"""Images whose links want to lead the runtime elsewhere: each test fails when a path is trusted twice."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Runtime, runtime

__all__ = ["runtime"]


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("target", ["/proc/sys/kernel", "/proc", "/proc/self/attr"])
def test_no_mount_covers_a_file_of_proc_through_a_link(runtime: Runtime, kind: str, target: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        source = str(runtime.directory) if kind == "bind" else "tmpfs"
        options = ["rbind"] if kind == "bind" else []
        config["mounts"].append({"destination": "/link", "type": kind, "source": source, "options": options})

    bundle = runtime.bundle("true", edit=edit)
    (bundle / "rootfs/link").symlink_to(target)
    done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert done.returncode == 1
    assert "proc" in done.stderr
    assert "/mounts/" in done.stderr


def test_options_are_those_of_the_mount_just_made_wherever_its_path_leads_afterwards(
    runtime: Runtime, tmp_path: Path
) -> None:
    # The mount on /here/link lands on /here and brings its own link: the same path now leads to /tmp.
    (tmp_path / "link").symlink_to("/tmp")

    def edit(config: dict[str, Any]) -> None:
        config["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {
                "destination": "/here/link",
                "source": str(tmp_path),
                "options": ["rbind", "ro", "rnosuid", "slave"],
            },
        ]

    script = "touch /here/file || echo read-only; touch /tmp/file && echo writable; grep ' /here ' /proc/self/mountinfo"
    bundle = runtime.bundle("sh", "-c", script, edit=edit)
    (bundle / "rootfs/here").mkdir()
    (bundle / "rootfs/here/link").symlink_to("/here")
    out = runtime.call("run", "--bundle", str(bundle), runtime.new_id()).stdout
    assert out.split()[:2] == ["read-only", "writable"]
    assert " ro,nosuid" in out


def test_the_terminal_is_not_put_where_a_link_leads(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True
        config["mounts"] = [
            mount for mount in config["mounts"] if mount["destination"] not in ("/dev", "/dev/shm")
        ]
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/dev/mqueue"]

    bundle = runtime.bundle("tty", edit=edit)
    (bundle / "rootfs/dev/console").symlink_to("/proc/self/attr/exec")
    path = runtime.directory / "console.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        done = runtime.call(
            "create", "--bundle", str(bundle), "--console-socket", str(path), runtime.new_id(), check=False
        )
    assert done.returncode == 1
    assert "/dev/console of the container is a symbolic link" in done.stderr


@pytest.mark.parametrize("place", ["proc", "sys"])
def test_a_bind_of_a_kernel_file_system_needs_a_real_directory_as_well(runtime: Runtime, place: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        mounts = [mount for mount in config["mounts"] if not mount["destination"].startswith(f"/{place}")]
        config["mounts"] = [
            {"destination": f"/{place}", "source": f"/{place}", "options": ["rbind"]},
            *mounts,
        ]

    bundle = runtime.bundle("true", edit=edit)
    (bundle / "rootfs" / place).rmdir()
    (bundle / "rootfs" / place).symlink_to("/etc")
    done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert done.returncode == 1
    assert "must be mounted on ordinary directory" in done.stderr


# option -> what the container sees of /there, which is a link to /other on the host, and of what its own link led to
NOFOLLOW = {
    "": ("target", "through"),
    "src-nofollow": ("/other", "own"),
    "dest-nofollow": ("through", "own"),
    "copy-symlink": ("/other", "own"),
}


@pytest.mark.parametrize("option", NOFOLLOW)
def test_options_about_links(runtime: Runtime, tmp_path: Path, option: str) -> None:
    (tmp_path / "content").write_text("through")
    (tmp_path / "link").symlink_to("content" if option in ("", "dest-nofollow") else "/other")

    def edit(config: dict[str, Any]) -> None:
        options = ["rbind", "ro", *filter(None, [option])]
        config["mounts"].append(
            {"destination": "/there", "source": str(tmp_path / "link"), "options": options}
        )

    script = "readlink /there || cat /there; echo; cat /target"
    bundle = runtime.bundle("sh", "-c", script, edit=edit)
    (bundle / "rootfs/target").write_text("own")
    if option in ("", "dest-nofollow"):
        (bundle / "rootfs/there").symlink_to("target")
    done = runtime.call("run", "--bundle", str(bundle), runtime.new_id())
    assert tuple(done.stdout.split()) == NOFOLLOW[option]
