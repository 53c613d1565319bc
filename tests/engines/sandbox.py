"""A place of their own for engines: namespaces for mounts, processes, network and, under cgroup v1, cgroups, and
directories in memory.

An engine may kill, mount and remove what it likes there, and all of it ends with the namespaces: on success, on
failure, and when the tests themselves are killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

# The first process of the namespace: takes in orphans such as conmon, and nothing else.
REAPER = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
print("ready", flush=True)
while True:
    signal.sigwait([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""
CGROUPS = Path("/sys/fs/cgroup")
# Lets each hierarchy begin at the cgroup named first; mounted over each other, two would be found.
REMOUNT = """
own=$1; shift; mkdir /run/hierarchy
for place; do
    mount --bind "$place$own" /run/hierarchy; umount "$place"
    mount --bind /run/hierarchy "$place"; umount /run/hierarchy
done
rmdir /run/hierarchy"""
# Joins the cgroups named first, up to "--", and becomes the command behind it.
JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 99; shift; done; shift; exec "$@"'
PROGRAMS_PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


class Outcome(NamedTuple):
    """What a command left: its exit code and both outputs."""

    code: int
    out: str
    err: str


class Place:
    """Where engines run: a directory of its own, and an environment."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
        self._outputs = tempfile.TemporaryDirectory(prefix="engine-out-")
        self.outputs = Path(self._outputs.name)
        self.cgroup = f"/{self.directory.name}"
        self.environment = {"PATH": PROGRAMS_PATH, "HOME": str(self.directory), "LC_ALL": "C"}
        self.environment.update(environment or {})
        self.first = 1  # the process that all others here descend from

    def seen(self, path: str) -> Path:
        """A file as the test sees it; `path` is relative to `directory`, or absolute."""
        return Path(f"/proc/{self.first}/root{self.directory / path}")

    def write(self, path: str, text: str) -> str:
        """Make a file, below `directory` unless `path` is absolute; returns its absolute path as seen inside."""
        place = self.seen(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return str(self.directory / path)

    def argv(self, *command: str) -> list[str]:
        """The command line that runs `command` here."""
        return ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items()), *command]

    def call(self, *command: str, stdin: str = "", seconds: float = 60) -> Outcome:
        """Run a command to its end; its output goes to files, which what it starts may keep open."""
        with (
            tempfile.TemporaryFile("w+", dir=self.outputs) as out,
            tempfile.TemporaryFile("w+", dir=self.outputs) as err,
            tempfile.TemporaryFile("w+", dir=self.outputs) as source,
        ):
            source.write(stdin)
            source.seek(0)
            done = subprocess.run(
                self.argv("timeout", "-k", "1", str(seconds), *command),
                stdin=source,
                stdout=out,
                stderr=err,
                check=False,
            )
            out.seek(0)
            err.seek(0)
            return Outcome(done.returncode, out.read(), err.read())

    def check(self, *command: str) -> str:
        """Run a command that must succeed; returns its output."""
        outcome = self.call(*command)
        assert outcome.code == 0, f"{' '.join(command)}: {outcome.code}: {outcome.err or outcome.out}"
        return outcome.out

    @contextlib.contextmanager
    def daemon(self, name: str, *command: str, ready: tuple[str, ...]) -> Iterator["subprocess.Popen[bytes]"]:
        """A daemon that is up once the command `ready` succeeds; it is killed afterwards.

        Raises AssertionError with the daemon's last lines if it does not come up in 30 s.
        """
        log = self.outputs / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                self.argv(*command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        try:
            deadline = time.monotonic() + 30
            while self.call(*ready, seconds=10).code != 0:
                tail = log.read_text(errors="replace")[-3000:]
                assert process.poll() is None, f"{name} ended with {process.returncode}: {tail}"
                assert time.monotonic() < deadline, f"{name} does not come up: {tail}"
                time.sleep(0.1)
            yield process
        finally:
            for pid in self._daemon_pids(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _daemon_pids(self, started: int) -> list[int]:
        """The daemon that the process `started` is, or has started."""
        return [started]


class Sandbox(Place):
    """The namespaces. `directory` is a tmpfs that only they see; from outside its files are below `seen`."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(environment)
        self.hierarchies = make_cgroups(self.cgroup)
        self._namespaces = ["--mount", "--pid", "--net", *(["--cgroup"] if self.hierarchies else [])]
        options = (*self._namespaces, "--fork", "--mount-proc", "--kill-child")
        self._complaints = (self.outputs / "sandbox").open("w+")
        self._keeper = subprocess.Popen(
            self._joined("setpriv", "--pdeathsig", "KILL", "unshare", *options, sys.executable, "-c", REAPER),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        ready = self._keeper.stdout.readline() == b"ready\n"
        assert ready, f"no namespaces for engines: {(self.outputs / 'sandbox').read_text()}"
        (first,) = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children").read_text().split()
        self.first = int(first)
        for place in (self.directory, Path("/run")):
            self.check("mount", "-t", "tmpfs", "-o", "mode=755", "none", str(place))
        self.check("sh", "-ec", REMOUNT, "sh", self.cgroup, *self.hierarchies)
        self.check("ip", "link", "set", "lo", "up")

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process of the namespaces, and with them their mounts and networks."""
        os.kill(self.first, signal.SIGKILL)
        self._keeper.wait()
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()
        self._complaints.close()
        self._outputs.cleanup()
        self.directory.rmdir()
        remove_cgroups(self.cgroup)

    def overlay(self, path: str) -> None:
        """Let the sandbox see and change the host's directory `path` without changing it."""
        name = path.strip("/").replace("/", "-")
        upper, work = (f"{self.directory}/{kind}-{name}" for kind in ("upper", "work"))
        self.check("mkdir", upper, work)
        self.check(
            "mount", "-t", "overlay", "-o", f"lowerdir={path},upperdir={upper},workdir={work}", "none", path
        )

    def open_to_others(self, program: str) -> None:
        """Let ordinary users of the sandbox reach a program, though it may lie in somebody's home."""
        closed = [str(each) for each in Path(program).parents if not each.stat().st_mode & 0o001]
        if closed:
            self.overlay(closed[-1])
            self.check("chmod", "o+x", *closed)

    def argv(self, *command: str) -> list[str]:
        """The command line that runs `command` in the namespaces."""
        enter = ["nsenter", "--target", str(self.first), *self._namespaces, f"--wdns={self.directory}"]
        return self._joined(*enter, *super().argv(*command))

    def _joined(self, *command: str) -> list[str]:
        """The command line that runs `command` in the sandbox's cgroups."""
        places = [f"{mount_point}{self.cgroup}" for mount_point in self.hierarchies]
        return ["sh", "-c", JOIN, "sh", *places, "--", *command]

    def _daemon_pids(self, started: int) -> list[int]:
        # nsenter waits for the daemon, its only child
        return [int(pid) for pid in Path(f"/proc/{started}/task/{started}/children").read_text().split()]


class Host(Place):
    """The host itself, for what needs its init; what runs must be ended by the test."""

    def __enter__(self) -> "Host":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for left in reversed([place for place in mounts if place.startswith(f"{self.directory}/")]):
            self.call("umount", left)  # podman leaves its storage bound over itself
        self.check("rm", "-rf", "--one-file-system", str(self.directory))
        self._outputs.cleanup()


def make_cgroups(path: str) -> list[str]:
    """Make the cgroup `path` in every hierarchy; returns their mount points.

    Only where v1 rules: under v2 a cgroup that holds processes gives no controllers to those below it.
    """
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    hierarchies = [
        place for _, place, kind, *_ in mounts if kind in ("cgroup", "cgroup2") and place != str(CGROUPS)
    ]
    for mount_point in hierarchies:
        place = Path(f"{mount_point}{path}")
        place.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (place / name).exists():
                (place / name).write_text(Path(mount_point, name).read_text())
    return hierarchies


def remove_cgroups(path: str) -> None:
    """Remove the cgroups at `path` of every hierarchy as soon as they are empty; one that holds a process stays."""
    deadline = time.monotonic() + 5
    for hierarchy in [CGROUPS, *CGROUPS.iterdir()]:
        top = hierarchy / path.lstrip("/")
        while path.strip("/") and top.is_dir() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            if top.is_dir():  # what was killed leaves its cgroup a moment later
                time.sleep(0.01)
