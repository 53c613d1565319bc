"""Properties of config.json one by one, each seen from inside, or from the host where the kernel shows it there."""

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import Edit, Runtime, runtime

__all__ = ["runtime"]

IOPRIO_GET = {"x86_64": 252, "aarch64": 31}
CPUS = sorted(os.sched_getaffinity(0))


def started(runtime: Runtime, edit: Edit | None = None) -> tuple[str, int]:
    """A running container that sleeps: its id, and its pid on the host."""
    name = runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(runtime.bundle("sleep", "100", edit=edit)), name)
    return name, runtime.state(name)["pid"]


def options_of(mountinfo: str, point: str) -> tuple[set[str], set[str], set[str]]:
    """(options of the mount, its propagation, options of the filesystem) of the last mount on a point."""
    fields = [line.split() for line in mountinfo.splitlines() if line.split()[4] == point][-1]
    dash = fields.index("-")
    propagation = {field.split(":")[0] for field in fields[6:dash]}
    return set(fields[5].split(",")), propagation, set(fields[dash + 3].split(","))


# Mounts: each option of the specification's table.

ON_A_BIND_MOUNT = {
    "ro": {"ro"}, "nosuid": {"nosuid"}, "nodev": {"nodev"}, "noexec": {"noexec"}, "noatime": {"noatime"},
    "nodiratime": {"nodiratime"}, "nosymfollow": {"nosymfollow"}, "relatime": {"relatime"},
    "rro": {"ro"}, "rnosuid": {"nosuid"}, "rnodev": {"nodev"}, "rnoexec": {"noexec"}, "rnoatime": {"noatime"},
    "rnodiratime": {"nodiratime"}, "rnosymfollow": {"nosymfollow"}, "rrelatime": {"relatime"},
}  # fmt: skip
TAKEN_BACK = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "symfollow": "nosymfollow", "rrw": "ro",
    "rsuid": "nosuid", "rdev": "nodev", "rexec": "noexec", "rdiratime": "nodiratime", "rsymfollow": "nosymfollow",
    "atime": "noatime", "diratime": "nodiratime", "strictatime": "relatime", "rstrictatime": "relatime",
    "ratime": "noatime",
}  # fmt: skip
OF_THE_FILESYSTEM = {"sync": "sync", "dirsync": "dirsync", "lazytime": "lazytime", "mand": "mand"}
PROPAGATIONS = {
    "private": set(), "rprivate": set(), "shared": {"shared"}, "rshared": {"shared"}, "unbindable": {"unbindable"},
    "runbindable": {"unbindable"}, "slave": {"master"}, "rslave": {"master"},
}  # fmt: skip


@pytest.fixture
def tree(runtime: Runtime) -> Path:
    """A folder with a mount below it, on the host: what `r` options must reach too."""
    source = runtime.directory / "source"
    (source / "below").mkdir(parents=True)
    return source


def test_each_option_sets_its_flag(runtime: Runtime, tree: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        for option in ON_A_BIND_MOUNT:
            config["mounts"].append(
                {"destination": f"/m/{option}", "source": str(tree), "options": ["rbind", option]}
            )

    mountinfo = runtime.run("cat", "/proc/self/mountinfo", edit=edit).stdout
    for option, expected in ON_A_BIND_MOUNT.items():
        assert expected <= options_of(mountinfo, f"/m/{option}")[0], option


def test_each_option_takes_a_flag_back(runtime: Runtime, tree: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        for option, flag in TAKEN_BACK.items():
            plain = [] if flag == "relatime" else [flag]
            config["mounts"].append(
                {"destination": f"/m/{option}", "source": str(tree), "options": ["rbind", *plain, option]}
            )

    mountinfo = runtime.run("cat", "/proc/self/mountinfo", edit=edit).stdout
    for option, flag in TAKEN_BACK.items():
        assert flag not in options_of(mountinfo, f"/m/{option}")[0], option


def test_recursive_options_reach_what_is_mounted_below_and_others_do_not(
    runtime: Runtime, tree: Path
) -> None:
    def edit(config: dict[str, Any]) -> None:
        for option in ("ro", "rro"):
            config["mounts"].append(
                {"destination": f"/{option}", "source": str(tree), "options": ["rbind", option]}
            )

    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tree / "below")], check=True)
    try:
        mountinfo = runtime.run("cat", "/proc/self/mountinfo", edit=edit).stdout
    finally:
        subprocess.run(["umount", str(tree / "below")], check=True)
    assert "ro" in options_of(mountinfo, "/ro")[0]
    assert "rw" in options_of(mountinfo, "/ro/below")[0]
    assert "ro" in options_of(mountinfo, "/rro")[0]
    assert "ro" in options_of(mountinfo, "/rro/below")[0]


def test_options_of_the_filesystem(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        for option in OF_THE_FILESYSTEM:
            config["mounts"].append(
                {"destination": f"/m/{option}", "type": "tmpfs", "source": option, "options": [option]}
            )
        config["mounts"].append(
            {"destination": "/sized", "type": "tmpfs", "source": "x", "options": ["size=64k", "mode=1750"]}
        )

    done = runtime.run("sh", "-c", "cat /proc/self/mountinfo; stat -c mode=%a /sized", edit=edit)
    for option, expected in OF_THE_FILESYSTEM.items():
        flags, _, data = options_of(done.stdout.replace("mode=", "0 0 0 0 x x x - "), f"/m/{option}")
        assert expected in flags | data, option
    assert "size=64k" in done.stdout
    assert "mode=1750" in done.stdout.splitlines()[-1]


def test_each_propagation_of_a_mount(runtime: Runtime, tree: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        for option in PROPAGATIONS:
            config["mounts"].append(
                {"destination": f"/m/{option}", "source": str(tree), "options": ["rbind", option]}
            )

    with shared_mount(tree):
        mountinfo = runtime.run("cat", "/proc/self/mountinfo", edit=edit).stdout
    for option, expected in PROPAGATIONS.items():
        # What is made shared in the container may still be a slave of the host.
        ignored = {"propagate_from"} | ({"master"} if "shared" in expected else set())
        assert options_of(mountinfo, f"/m/{option}")[1] - ignored == expected, option


class shared_mount:  # noqa: N801  # a context manager, used like a function
    """A directory as a shared mount on the host."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __enter__(self) -> None:
        subprocess.run(["mount", "--bind", self.path, self.path], check=True)
        subprocess.run(["mount", "--make-shared", self.path], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)


@pytest.mark.parametrize(
    ("propagation", "expected"),
    [
        ("shared", {"shared"}),
        ("private", set()),
        ("unbindable", {"unbindable"}),
        ("slave", set()),
        ("", set()),
    ],
)
def test_propagation_of_the_root(runtime: Runtime, propagation: str, expected: set[str]) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["rootfsPropagation"] = propagation

    mountinfo = runtime.run("cat", "/proc/self/mountinfo", edit=edit).stdout
    assert options_of(mountinfo, "/")[1] - {"master", "propagate_from"} == expected


def test_no_mount_of_a_container_reaches_the_host(runtime: Runtime, tree: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/m", "source": str(tree), "options": ["rbind"]})
        config["mounts"].append({"destination": "/m/below", "type": "tmpfs", "source": "leak"})

    with shared_mount(tree):
        started(runtime, edit)
        assert not os.path.ismount(tree / "below")


# The process.


def test_scheduler_and_affinity_come_from_the_config_and_not_from_the_caller(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["scheduler"] = {
            "policy": "SCHED_BATCH",
            "nice": 7,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        }

    name = runtime.new_id()
    bundle = runtime.bundle("sleep", "100", edit=edit)
    runtime.call(
        "run", "-d", "--bundle", str(bundle), name, preexec_fn=lambda: os.sched_setaffinity(0, CPUS[:1])
    )
    pid = runtime.state(name)["pid"]
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert sorted(os.sched_getaffinity(pid)) == CPUS


def test_a_realtime_policy_has_its_priority(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["scheduler"] = {"policy": "SCHED_RR", "priority": 3}

    name = runtime.new_id()
    bundle = str(runtime.bundle("sleep", "100", edit=edit))
    # A new cgroup of v1 has no time for realtime processes.
    runtime.call("--cgroup-manager", "disabled", "run", "-d", "--bundle", bundle, name)
    pid = runtime.state(name)["pid"]
    assert (os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority) == (os.SCHED_RR, 3)


@pytest.mark.parametrize(("name", "number"), [("RT", 1), ("BE", 2), ("IDLE", 3)])
def test_io_priority(runtime: Runtime, name: str, number: int) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["ioPriority"] = {"class": f"IOPRIO_CLASS_{name}", "priority": 5}

    _, pid = started(runtime, edit)
    found = ctypes.CDLL(None).syscall(IOPRIO_GET[os.uname().machine], 1, pid)
    assert (found >> 13, found & 7) == (number, 5)


def test_personality_and_memory_policy(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["personality"] = {"domain": "LINUX32"}
        if os.path.exists("/proc/self/numa_maps"):
            config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}

    _, pid = started(runtime, edit)
    assert Path(f"/proc/{pid}/personality").read_text().strip() == "00000008"
    if os.path.exists("/proc/self/numa_maps"):
        assert " bind:0 " in Path(f"/proc/{pid}/numa_maps").read_text()


def test_affinity_of_exec(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["execCPUAffinity"] = {"initial": str(CPUS[0]), "final": str(CPUS[-1])}

    name, pid = started(runtime, edit)
    assert sorted(os.sched_getaffinity(pid)) == CPUS, "it is for exec, not for the init"
    out = runtime.call("exec", name, "grep", "Cpus_allowed_list", "/proc/self/status").stdout
    assert out.split()[-1] == str(CPUS[-1])


def test_an_empty_affinity_of_exec_leaves_it_every_processor(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["execCPUAffinity"] = {}

    name, pid = started(runtime, edit)
    out = runtime.call("exec", name, "grep", "Cpus_allowed_list", "/proc/self/status").stdout
    assert out in Path(f"/proc/{pid}/status").read_text()


def test_offsets_of_both_clocks(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {
            "monotonic": {"secs": 172800, "nanosecs": 5},
            "boottime": {"secs": 604800, "nanosecs": 7},
        }

    name, pid = started(runtime, edit)
    lines = Path(f"/proc/{pid}/timens_offsets").read_text().split("\n")
    assert [line.split() for line in lines if line] == [
        ["monotonic", "172800", "5"],
        ["boottime", "604800", "7"],
    ]
    executed = runtime.call("exec", name, "cat", "/proc/self/timens_offsets").stdout
    assert executed.split() == ["monotonic", "172800", "5", "boottime", "604800", "7"]


def test_nothing_of_the_caller_is_inherited(runtime: Runtime) -> None:
    def spoil() -> None:
        import signal

        os.umask(0o177)
        os.nice(3)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.setgroups([4242])
        os.dup2(os.open("/", os.O_RDONLY), 77)

    script = "umask; ls /proc/self/fd | wc -w; grep -E '^(Sig(Blk|Ign)|Groups)' /proc/self/status; env"
    bundle = runtime.bundle("sh", "-c", script)
    surroundings = {
        **os.environ,
        "NOTIFY_SOCKET": "/nowhere",
        "SECRET": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "3",
    }
    done = runtime.call(
        "run", "--bundle", str(bundle), runtime.new_id(), preexec_fn=spoil, env=surroundings, close_fds=False
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "0022"
    assert "4242" not in done.stdout
    assert [line.split()[1].strip("0") for line in lines if line.startswith("Sig")] == ["", ""]
    assert "SECRET" not in done.stdout
    assert "LISTEN" not in done.stdout
    assert "NOTIFY_SOCKET" not in done.stdout


# Descriptors.


def with_descriptors(runtime: Runtime, arguments: list[str], listen: int) -> str:
    """Run a container that prints what it can read from 3, 4 and 5, and what it is told of them."""
    script = (
        "for n in 3 4 5; do echo $n=$(cat /proc/self/fd/$n 2>/dev/null); done; echo $LISTEN_FDS $LISTEN_PID"
    )
    bundle = runtime.bundle("sh", "-c", script)
    files = []
    for number in (3, 4, 5):
        (runtime.directory / str(number)).write_text(f"content{number}")
        files.append(str(runtime.directory / str(number)))
    told = f"LISTEN_FDS={listen} LISTEN_PID=$$ exec" if listen else "exec"
    words = " ".join([*runtime.command, "run", *arguments, "--bundle", str(bundle), runtime.new_id()])
    shell = f"{told} {words} 3<{files[0]} 4<{files[1]} 5<{files[2]}"
    return subprocess.run(
        ["sh", "-c", shell], capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL
    ).stdout


def test_only_preserved_descriptors_get_through(runtime: Runtime) -> None:
    assert with_descriptors(runtime, [], 0).split("\n")[:3] == ["3=", "4=", "5="]
    out = with_descriptors(runtime, ["--preserve-fds", "2"], 0)
    assert out.split("\n")[:4] == ["3=content3", "4=content4", "5=", ""]


def test_socket_activation_passes_descriptors_and_says_so(runtime: Runtime) -> None:
    assert with_descriptors(runtime, [], 1).split("\n")[:4] == ["3=content3", "4=", "5=", "1 1"]
    out = with_descriptors(runtime, ["--preserve-fds", "1"], 1)
    assert out.split("\n")[:4] == ["3=content3", "4=content4", "5=", "1 1"]


def test_a_descriptor_that_is_not_open_cannot_be_preserved(runtime: Runtime) -> None:
    done = runtime.call(
        "run", "--preserve-fds", "9", "--bundle", str(runtime.bundle("true")), "x", check=False
    )
    assert done.returncode == 1
    assert "is not open" in done.stderr


def test_without_pivot_root_the_root_is_the_containers_all_the_same(runtime: Runtime) -> None:
    script = "ls /; ls /.. ; readlink /proc/self/root; grep -c . /proc/self/mountinfo"
    bundle = runtime.bundle("sh", "-c", script)
    done = runtime.call("run", "--no-pivot", "--bundle", str(bundle), runtime.new_id())
    assert "bin" in done.stdout
    assert "usr" not in done.stdout.split()
    assert "boot" not in done.stdout.split()


# Security modules and cgroups that this machine may not have.


def test_labels_are_refused_where_no_module_would_enforce_them(runtime: Runtime) -> None:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not (enabled.exists() and enabled.read_text().startswith("Y")):
        done = runtime.run(
            "true", edit=lambda config: config["process"].update(apparmorProfile="box"), check=False
        )
        assert "AppArmor is not enabled" in done.stderr
        runtime.run("true", edit=lambda config: config["process"].update(apparmorProfile="unconfined"))
    if not os.path.exists("/sys/fs/selinux/enforce"):
        done = runtime.run(
            "true", edit=lambda config: config["process"].update(selinuxLabel="a:b:c:s0"), check=False
        )
        assert "selinux is disabled or not supported" in done.stderr
    assert runtime.leftovers() == []


def test_throttling_of_a_disk(runtime: Runtime) -> None:
    disks = [path.name for path in Path("/sys/block").iterdir() if (path / "device").exists()]
    if not os.path.exists("/sys/fs/cgroup/blkio") or not disks:
        pytest.skip("no blkio controller with a disk")
    major, minor = map(int, Path(f"/sys/block/{disks[0]}/dev").read_text().split(":"))
    rate = {"major": major, "minor": minor, "rate": 1 << 20}

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["blockIO"] = {
            "throttleReadBpsDevice": [rate],
            "throttleWriteIOPSDevice": [{**rate, "rate": 100}],
        }

    _, pid = started(runtime, edit)
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next(line.split(":")[2] for line in lines if "blkio" in line.split(":")[1].split(","))
    folder = Path("/sys/fs/cgroup/blkio" + path)
    assert (folder / "blkio.throttle.read_bps_device").read_text().split() == [f"{major}:{minor}", "1048576"]
    assert (folder / "blkio.throttle.write_iops_device").read_text().split() == [f"{major}:{minor}", "100"]


@pytest.mark.parametrize(
    ("resources", "controller", "pointer"),
    [
        ({"network": {"classID": 1}}, "net_cls", "/linux/resources/network/classID"),
        (
            {"network": {"priorities": [{"name": "lo", "priority": 1}]}},
            "net_prio",
            "/linux/resources/network",
        ),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "rdma", "/linux/resources/rdma/mlx5_1"),
    ],
)
def test_a_controller_that_is_not_there_is_named(
    runtime: Runtime, resources: dict[str, Any], controller: str, pointer: str
) -> None:
    if controller in Path("/proc/self/cgroup").read_text():
        pytest.skip("cgroup v1 has the controller here")
    done = runtime.run(
        "true", edit=lambda config: config["linux"]["resources"].update(resources), check=False
    )
    assert done.returncode == 1
    assert pointer in done.stderr
    assert runtime.leftovers() == []


@pytest.mark.parametrize("kind", ["cgroup", "time"])
def test_more_namespaces_are_joined_by_path(runtime: Runtime, kind: str) -> None:
    _, pid = started(runtime, lambda config: config["linux"]["namespaces"].append({"type": kind}))
    path = f"/proc/{pid}/ns/{kind}"
    joined = {"type": kind, "path": path}
    _, other = started(runtime, lambda config: config["linux"]["namespaces"].append(joined))
    assert os.readlink(f"/proc/{other}/ns/{kind}") == os.readlink(path)


def test_a_mount_namespace_is_joined_by_path(runtime: Runtime) -> None:
    owner = subprocess.Popen(["unshare", "--mount", "sleep", "100"])
    try:
        path = f"/proc/{owner.pid}/ns/mnt"
        while os.readlink(path) == os.readlink("/proc/self/ns/mnt"):
            assert owner.poll() is None

        def edit(config: dict[str, Any]) -> None:
            others = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "mount"]
            config["linux"]["namespaces"] = [*others, {"type": "mount", "path": path}]

        _, pid = started(runtime, edit)
        assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(path)
        assert "bin" in os.listdir(f"/proc/{pid}/root")
        assert "boot" not in os.listdir(f"/proc/{pid}/root")
    finally:
        owner.kill()
        owner.wait()
