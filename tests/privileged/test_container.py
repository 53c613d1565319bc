"""What a container's process finds: each test reads it from inside."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Edit, Runtime, runtime

__all__ = ["runtime"]


def test_identity(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        process = config["process"]
        process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o077}
        process["env"] = ["PATH=/bin", "A=1", "A=2"]
        process["cwd"] = "/new/dir"
        process["oomScoreAdj"] = 123
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
        every = ["CAP_KILL", "CAP_CHOWN"]
        process["capabilities"] = dict.fromkeys(
            ("bounding", "effective", "permitted", "inheritable", "ambient"), every
        )

    script = "id; pwd; umask; echo $A $HOME; cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn"
    script += "; cat /proc/self/status; ls /proc/self/fd"
    out = runtime.run("sh", "-c", script, edit=edit).stdout
    lines = out.splitlines()
    assert lines[0].startswith("uid=7 gid=8 groups=9,10")
    assert lines[1:7] == ["/new/dir", "0077", "2 /", "123", "100", "200"]
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0x21
    assert status["NoNewPrivs"].strip() == "1"
    assert status["SigIgn"].strip("0") == ""
    assert status["SigBlk"].strip("0") == ""
    assert lines[-4:] == ["0", "1", "2", "3"]


def test_kernel_files_are_hidden_and_frozen(runtime: Runtime) -> None:
    script = "cat /proc/kcore | head -c 1; ls /sys/firmware; echo 1 > /proc/sys/kernel/panic; ls -l /dev/fd /dev/ptmx"
    done = runtime.run("sh", "-c", script)
    assert "Read-only file system" in done.stderr
    assert "/dev/fd -> /proc/self/fd" in done.stdout
    assert "/dev/ptmx -> pts/ptmx" in done.stdout


def test_mounts(runtime: Runtime) -> None:
    source = runtime.directory / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("content")

    def edit(config: dict[str, Any]) -> None:
        config["mounts"] += [
            {
                "destination": "/deep/er",
                "type": "none",
                "source": str(source),
                "options": ["rbind", "ro", "nosuid"],
            },
            {"destination": "/one/file", "source": str(source / "file"), "options": ["bind"]},
            {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]},
            {"destination": "/ro", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=700"]},
            {"destination": "/rec", "source": str(source), "options": ["rbind", "rro"]},
        ]

    bundle = runtime.bundle(
        "sh", "-c", "cat /deep/er/file /one/file /etc/kept; touch /deep/er/x; touch /ro/x; touch /rec/x;"
        " grep ' /deep/er ' /proc/self/mountinfo",
        edit=edit,
    )  # fmt: skip
    (bundle / "rootfs/etc/kept").write_text("kept")
    done = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert done.stdout.startswith("contentcontentkept")
    assert done.stderr.count("Read-only file system") == 3
    assert "ro,nosuid" in done.stdout


def test_idmapped_mount(runtime: Runtime) -> None:
    source = runtime.directory / "owned"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 1000, 1000)

    def edit(config: dict[str, Any]) -> None:
        mapping = [{"containerID": 1000, "hostID": 2000, "size": 1}]
        config["mounts"].append(
            {
                "destination": "/m",
                "source": str(source),
                "options": ["bind"],
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        )

    assert runtime.run("stat", "-c", "%u:%g", "/m/file", edit=edit).stdout == "2000:2000\n"


def test_user_time_and_cgroup_namespaces(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["namespaces"] += [{"type": kind} for kind in ("user", "time", "cgroup")]
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        linux["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
        config["hostname"], config["domainname"] = "box", "example"
        linux["sysctl"] = {"net.ipv4.ip_forward": "1"}

    bundle = runtime.bundle(
        "sh", "-c", "cat /proc/self/uid_map /proc/uptime /proc/sys/net/ipv4/ip_forward; hostname;"
        " cat /proc/self/cgroup; echo x > /dev/null",
        edit=edit,
    )  # fmt: skip
    for path in [bundle, *bundle.rglob("*")]:
        os.chown(path, 100000, 100000, follow_symlinks=False)
    lines = runtime.call("run", "--bundle", str(bundle), runtime.new_id()).stdout.splitlines()
    assert lines[0].split() == ["0", "100000", "65536"]
    assert float(lines[1].split()[0]) > 10_000_000
    assert lines[2:4] == ["1", "box"]
    assert all(line.endswith(":/") for line in lines[4:])


@pytest.mark.parametrize(
    ("kind", "file"), [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")]
)
def test_namespaces_are_joined_by_path(runtime: Runtime, kind: str, file: str) -> None:
    first, name = runtime.bundle("sleep", "100"), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(first), name)
    path = f"/proc/{runtime.state(name)['pid']}/ns/{file}"

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"] = [
            {"type": kind, "path": path} if entry["type"] == kind else entry
            for entry in config["linux"]["namespaces"]
        ]

    assert runtime.run("readlink", f"/proc/self/ns/{file}", edit=edit).stdout.strip() == os.readlink(path)


def test_hooks_run_in_order_with_the_state(runtime: Runtime) -> None:
    log = runtime.directory / "hooks"
    log.mkdir()

    def edit(config: dict[str, Any]) -> None:
        def hook(name: str) -> list[dict[str, Any]]:
            return [
                {"path": "/bin/sh", "args": ["sh", "-c", f"echo {name} >> {log}/order; cat > {log}/{name}"]}
            ]

        config["mounts"].append({"destination": str(log), "source": str(log), "options": ["bind"]})
        names = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
        config["hooks"] = {name: hook(name) for name in names}
        config["annotations"] = {"a": "b"}

    runtime.run("sleep", "0.5", edit=edit)
    order = (log / "order").read_text().split()
    assert order == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]
    states = {name: json.loads((log / name).read_text()) for name in order}
    assert states["createRuntime"]["status"] == "creating"
    assert states["createRuntime"]["pid"] > 1
    assert states["createContainer"]["pid"] == 1
    assert states["poststart"]["status"] == "running"
    assert (states["poststop"]["status"], states["poststop"]["annotations"]) == ("stopped", {"a": "b"})


@pytest.mark.parametrize("name", ["prestart", "createRuntime", "createContainer"])
def test_a_failing_hook_undoes_the_create(runtime: Runtime, name: str) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["hooks"] = {name: [{"path": "/bin/sh", "args": ["sh", "-c", "echo boom >&2; exit 7"]}]}

    failed = runtime.call(
        "create", "--bundle", str(runtime.bundle("true", edit=edit)), runtime.new_id(), check=False
    )
    assert failed.returncode == 1
    assert f"error running {name} hook #0: exit status 7" in failed.stderr
    assert "boom" in failed.stderr
    assert runtime.leftovers() == []


def test_hook_timeout(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": 1}]}

    failed = runtime.run("true", edit=edit, check=False)
    assert "hook ran past specified timeout of 1.0s" in failed.stderr


def _limits(config: dict[str, Any]) -> None:
    config["linux"]["resources"].update(
        {
            "memory": {"limit": 64 << 20},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "pids": {"limit": 42},
        }
    )


def test_limits_are_in_force(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100", edit=_limits), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    groups = Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text().splitlines()
    found = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    assert found["pids"].endswith(name)
    assert Path(f"/sys/fs/cgroup/pids{found['pids']}/pids.max").read_text() == "42\n"
    assert Path(f"/sys/fs/cgroup/cpu{found['cpu']}/cpu.shares").read_text() == "512\n"
    assert (
        Path(f"/sys/fs/cgroup/memory{found['memory']}/memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
    )


@pytest.fixture(autouse=True)
def _v1(request: pytest.FixtureRequest) -> None:
    if request.node.name == "test_limits_are_in_force" and not os.path.isdir("/sys/fs/cgroup/pids"):
        pytest.skip("cgroup v2: the files have other names there")


def test_seccomp(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    for _ in range(2):  # compiled, then from the cache
        done = runtime.run("sh", "-c", "mkdir /tmp/x; grep Seccomp: /proc/self/status", edit=edit)
        assert "Operation not supported" in done.stderr
        assert done.stdout.split() == ["Seccomp:", "2"]


def _no_uts(config: dict[str, Any]) -> None:
    config["linux"]["namespaces"] = [
        entry for entry in config["linux"]["namespaces"] if entry["type"] != "uts"
    ]


WRONG: dict[str, tuple[Edit, str, str]] = {
    "unknown filesystem": (
        lambda config: config["mounts"].append({"destination": "/x", "type": "nofs", "source": "x"}),
        "no such device",
        "/mounts/7",
    ),
    "missing source": (
        lambda config: config["mounts"].append({"destination": "/x", "source": "/no/where", "options": ["bind"]}),
        "no such file or directory",
        "/mounts/7",
    ),
    "hostname without a namespace": (_no_uts, "without a private UTS namespace", "/hostname"),
    "unknown namespace": (
        lambda config: config["linux"]["namespaces"].append({"type": "space"}),
        "unknown namespace type",
        "/linux/namespaces/5/type",
    ),
    "unknown limit": (
        lambda config: config["process"]["rlimits"].append({"type": "RLIMIT_X", "soft": 1, "hard": 1}),
        "invalid rlimit type",
        "/process/rlimits/1/type",
    ),
    "program that is not there": (
        lambda config: config["process"].update(args=["/nope"]),
        'exec: "/nope": stat /nope: no such file or directory',
        "/process/args",
    ),
    "limit that is not possible": (
        lambda config: config["linux"]["resources"].update(cpu={"cpus": "4000"}),
        "cpuset.cpus",
        "/linux/resources/cpu/cpus",
    ),
    "shares of caches without resctrl": (
        lambda config: config["linux"].update(intelRdt={"closID": "no-such-group"}),
        "resctrl group" if " resctrl " in Path("/proc/mounts").read_text() else "RDT is not supported or enabled",
        "/linux/intelRdt",
    ),
    "what the specification has no word for": (
        lambda config: config["linux"].update(personality={"domain": "LINUX", "flags": ["X"]}),
        "unknown personality flag",
        "/linux/personality/flags/0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_config_is_explained_and_leaves_nothing(runtime: Runtime, case: str) -> None:
    edit, text, pointer = WRONG[case]
    failed = runtime.call(
        "create", "--bundle", str(runtime.bundle("true", edit=edit)), runtime.new_id(), check=False
    )
    assert failed.returncode == 1
    assert text in failed.stderr
    assert f"({pointer})" in failed.stderr
    assert runtime.leftovers() == []


def test_proc_on_a_symlink_is_refused(runtime: Runtime) -> None:
    bundle = runtime.bundle("true")
    (bundle / "rootfs/proc").rmdir()
    (bundle / "rootfs/proc").symlink_to("/tmp")
    failed = runtime.call("create", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert "must be mounted on ordinary directory" in failed.stderr


def test_a_destination_behind_a_symlink_stays_in_the_rootfs(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/link/made", "type": "tmpfs", "source": "tmpfs"})

    bundle = runtime.bundle("true", edit=edit)
    (bundle / "rootfs/link").symlink_to("/only-in-the-rootfs/deep")
    runtime.call("run", "--bundle", str(bundle), runtime.new_id())
    assert not Path("/only-in-the-rootfs").exists()
    assert (bundle / "rootfs/only-in-the-rootfs/deep/made").is_dir()


def test_without_a_mount_namespace_the_hosts_mounts_are_as_before_afterwards(runtime: Runtime) -> None:
    def share(config: dict[str, Any]) -> None:
        namespaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "mount"]
        config["root"]["readonly"] = True
        config["root"]["path"] = "mounted"
        del config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"]

    # A mount of somebody else's on the rootfs must survive.
    bundle = runtime.bundle("sh", "-c", "readlink /proc/self/ns/mnt; touch /x", edit=share)
    rootfs = bundle / "mounted"
    rootfs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "test", rootfs], check=True)
    try:
        subprocess.run(["cp", "-a", f"{bundle}/rootfs/.", rootfs], check=True)
        before = Path("/proc/self/mountinfo").read_text()
        result = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
        assert result.returncode == 1, result.stderr
        assert result.stdout.strip() == os.readlink("/proc/self/ns/mnt")
        assert "Read-only file system" in result.stderr
        assert Path("/proc/self/mountinfo").read_text() == before
        (rootfs / "still-writable").touch()
        config = json.loads((bundle / "config.json").read_text())
        config["process"]["args"] = ["/missing"]
        (bundle / "config.json").write_text(json.dumps(config))
        failed = runtime.call("create", "--bundle", str(bundle), runtime.new_id(), check=False)
        assert failed.returncode == 1
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        subprocess.run(["umount", rootfs], check=True)


def test_a_filter_that_forbids_getcwd_does_not_forbid_the_working_directory(runtime: Runtime) -> None:
    def forbid(config: dict[str, Any]) -> None:
        rule = {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        config["process"]["noNewPrivileges"] = False
        config["process"]["cwd"] = "/tmp"

    assert runtime.run("readlink", "/proc/self/cwd", edit=forbid).stdout == "/tmp\n"


def test_options_of_a_filesystem_on_a_bind_mount_mean_nothing(runtime: Runtime) -> None:
    def bind(config: dict[str, Any]) -> None:
        options = ["bind", "ro", "size=1k"]
        config["mounts"].append({"destination": "/mnt", "type": "bind", "source": "/etc", "options": options})

    assert runtime.run("ls", "/mnt/passwd", edit=bind).stdout == "/mnt/passwd\n"
