"""A runtime under measurement: its command line, its bundles, and the time and memory of one command."""

import copy
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory import memory_at_the_end

APPLETS = ("sh", "true", "sleep")
# What a container engine's profile typically forbids.
FORBIDDEN = [
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "finit_module",
    "get_kernel_syms",
    "get_mempolicy",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mbind",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "query_module",
    "quotactl",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "_sysctl",
    "sysfs",
    "umount2",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
]  # as a list it would fill a page


class FailedError(Exception):
    """A command of a runtime failed; the text is what it said."""


@dataclass(frozen=True)
class Runtime:
    """A program with runc's command line, and a state directory of its own."""

    name: str
    command: tuple[str, ...]
    root: str

    def start(self, *words: str) -> "Running":
        return Running([*self.command, "--root", self.root, *words])

    def run(self, *words: str) -> float:
        """Run one command to its end; returns how many milliseconds that took.

        Raises:
            FailedError: it failed.
        """
        return self.start(*words).wait()

    def memory(self, *words: str) -> dict[str, int]:
        """Peak and private memory in KiB of one command at its end."""
        return memory_at_the_end([*self.command, "--root", self.root, *words])

    def state(self, container_id: str) -> dict[str, Any]:
        words = [*self.command, "--root", self.root, "state", container_id]
        state: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        return state

    def wait_until_stopped(self, container_id: str) -> None:
        while self.state(container_id)["status"] != "stopped":
            time.sleep(0.002)


class Running:
    """A command at work.  A container keeps its creator's standard streams, so none of them is a pipe."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by wait
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, self._errors.fileno(), 2),
        ]
        self._started = time.perf_counter()
        self._pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)

    def wait(self) -> float:
        _, status = os.waitpid(self._pid, 0)
        milliseconds = (time.perf_counter() - self._started) * 1000
        with self._errors as errors:
            if status:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()[-400:]
                raise FailedError(f"{' '.join(self.words)}: status {status}: {said}")
        return milliseconds


def installed_program() -> Path:
    """This tree's pyruntime; PYRUNTIME_BIN names another directory than .venv/bin."""
    usual = Path(__file__).resolve().parents[2] / ".venv" / "bin"
    return Path(os.environ.get("PYRUNTIME_BIN", usual)) / "pyruntime"


def find_runtimes(named: list[str], folder: Path) -> list[Runtime]:
    """The runtimes named as NAME=COMMAND, or the installed ones; the first is the subject."""
    if not named:
        installed = installed_program()
        named = [f"pyruntime={installed}"]
        named += [f"{name}={path}" for name in ("crun", "runc", "youki") if (path := shutil.which(name))]
    found = []
    for text in named:
        name, _, command = text.partition("=")
        program, *options = command.split()
        path = shutil.which(program)
        if path is None:
            raise FailedError(f"{program} is not installed")
        root = folder / f"root-{name}"
        root.mkdir(mode=0o700)
        found.append(Runtime(name, (os.path.abspath(path), *options), str(root)))
    return found


class Bundles:
    """Bundles of one busybox, made on the spot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        busybox = shutil.which("busybox")
        if busybox is None:
            raise FailedError("busybox is not installed (Debian: busybox-static)")
        rootfs = folder / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "mnt"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(busybox, rootfs / "bin" / "busybox")
        for name in APPLETS:
            (rootfs / "bin" / name).symlink_to("busybox")
        folder.chmod(0o755)
        subprocess.run([installed_program(), "spec", "--bundle", folder], check=True)
        self._config = json.loads((folder / "config.json").read_text())
        self._config["process"]["terminal"] = False
        self._config["root"]["path"] = str(rootfs)

    def make(self, name: str, *arguments: str, **changes: Any) -> str:  # noqa: ANN401  # JSON
        """A bundle that runs `arguments`; `changes` replace entries of `linux`, or add `mounts`."""
        config = copy.deepcopy(self._config)
        config["ociVersion"] = "1.0.2"  # older runtimes refuse what is newer than they are
        config["process"]["args"] = list(arguments)
        config["mounts"] += changes.pop("mounts", [])
        namespaces = changes.pop("namespaces", [])
        config["linux"].update(changes)
        config["linux"]["namespaces"] += namespaces
        bundle = self.folder / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(config))
        return str(bundle)

    def mounts(self, count: int) -> list[dict[str, Any]]:
        """That many small tmpfs mounts."""
        options = ["nosuid", "nodev", "size=4k"]
        return [
            {"destination": f"/mnt/{index}", "type": "tmpfs", "source": "tmpfs", "options": options}
            for index in range(count)
        ]


SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"] if os.uname().machine == "x86_64" else ["SCMP_ARCH_AARCH64"],
    "syscalls": [{"names": FORBIDDEN, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
ID_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USER_NAMESPACE = {"namespaces": [{"type": "user"}], "uidMappings": ID_MAP, "gidMappings": ID_MAP}
