"""The bench at which one requirement is tried: bundles, containers and what was seen inside of them."""

import contextlib
import glob
import os
import shlex
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from conformance.bundle import Changes, JsonObject, changed, plain_config, write_bundle
from conformance.container import Container
from conformance.expect import BrokenError, expect
from conformance.host import is_unified

TIMEOUT = 20.0  # seconds for any one command; the slowest verb takes a tenth of one
Command = subprocess.CompletedProcess[str]


class Bench:
    """A private directory and state root for one requirement; leaving it removes every container made there."""

    def __init__(self, runtime: str, probe: str) -> None:
        self.runtime, self.probe = runtime, probe
        self._place = tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True)
        self.directory = os.path.realpath(self._place.name)
        os.chmod(self.directory, 0o755)  # a container's user must reach its rootfs
        self.containers: list[Container] = []
        self._mounted: list[str] = []
        self.prefix: Sequence[str] = ()  # words before the runtime's own, such as those of nsenter
        # Below the root of the hierarchies, and of this bench alone.
        self.cgroup = f"/conformance-{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in self.containers:
            container.command("delete", "--force", container.identifier)
        for path in self._mounted:
            subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)
        self._remove_forgotten_cgroups()
        self._place.cleanup()

    def bundle(self, changes: Changes) -> str:
        """A new bundle: the plain config with the changes."""
        directory = tempfile.mkdtemp(prefix="bundle-", dir=self.directory)
        os.chmod(directory, 0o755)
        write_bundle(directory, changed(plain_config(), changes), self.probe)
        return directory

    def words(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command line of the runtime, with the state of this bench."""
        return [*self.prefix, self.runtime, "--root", f"{self.directory}/state", *options, *arguments]

    def command(
        self, *arguments: str, stdin: str = "", options: Sequence[str] = (), descriptors: Sequence[int] = ()
    ) -> Command:
        """Run one command of the runtime.  Its output goes to files: containers keep what they inherit."""
        with (
            tempfile.TemporaryFile("w+", dir=self.directory) as output,
            tempfile.TemporaryFile("w+", dir=self.directory) as errors,
            tempfile.TemporaryFile("w+", dir=self.directory) as given,
        ):
            given.write(stdin)
            given.seek(0)
            words = self.words(*arguments, options=options)
            try:
                finished = subprocess.run(
                    words,
                    stdin=given,
                    stdout=output,
                    stderr=errors,
                    timeout=TIMEOUT,
                    check=False,
                    pass_fds=descriptors,
                )
            except subprocess.TimeoutExpired:
                raise BrokenError(
                    f"`{' '.join(arguments)}` did not end within {TIMEOUT:.0f} seconds"
                ) from None
            output.seek(0)
            errors.seek(0)
            return Command(words, finished.returncode, output.read(), errors.read())

    def command_in(self, directory: str, *arguments: str) -> Command:
        """The command with this working directory."""
        result = subprocess.run(
            self.words(*arguments),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
            cwd=directory,
        )
        return Command(result.args, result.returncode, result.stdout, result.stderr)

    def with_descriptors(self, count: int, *arguments: str) -> Command:
        """The command with descriptors 3 and those after it open."""
        shell = "".join(f" {number}</dev/null" for number in range(3, 3 + count))
        quoted = " ".join(shlex.quote(word) for word in self.words(*arguments))
        result = subprocess.run(
            ["/bin/sh", "-c", f"exec {quoted}{shell}"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
        return Command(result.args, result.returncode, result.stdout, result.stderr)

    @contextlib.contextmanager
    def in_background(
        self, *arguments: str, stdout: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on meanwhile, and is killed at the end if it does not end before."""
        process = subprocess.Popen(
            self.words(*arguments), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _remove_forgotten_cgroups(self) -> None:
        """Remove what a runtime has left, which may take a moment: processes that were killed must be gone first."""
        names = (f"{self.cgroup}/child", self.cgroup, *(f"/{one.identifier}" for one in self.containers))
        for path in (f"{place}{name}" for name in names for place in self.hierarchies()):
            end = time.monotonic() + 2
            while os.path.isdir(path):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
                    break
                if time.monotonic() > end:
                    break
                time.sleep(0.02)

    def cgroups_left(self) -> list[str]:
        """Directories of the host that belong to the cgroup of this bench."""
        found = [f"{place}{self.cgroup}" for place in self.hierarchies()]
        return [path for path in found if os.path.isdir(path)]

    def hierarchies(self) -> list[str]:
        """Where cgroups can be made: one place of cgroup v2, or one for each hierarchy of v1."""
        if is_unified():
            return ["/sys/fs/cgroup"]
        found = {os.path.realpath(path) for path in glob.glob("/sys/fs/cgroup/*/")}
        return sorted(path for path in found if os.path.exists(f"{path}/cgroup.procs"))

    def shared_tree(self) -> str:
        """A directory of the host that is a shared mount, with an empty directory `below` in it."""
        tree = tempfile.mkdtemp(prefix="shared-", dir=self.directory)
        os.chmod(tree, 0o755)
        for words in (("-t", "tmpfs", "tmpfs", tree), ("--make-private", tree), ("--make-shared", tree)):
            subprocess.run(["mount", *words], check=True, capture_output=True)
        self._mounted.append(tree)
        os.mkdir(f"{tree}/below")
        return tree

    def mount_below(self, tree: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{tree}/below"], check=True, capture_output=True)
        self._mounted.insert(0, f"{tree}/below")

    def nested_tree(self, *options: str) -> str:
        """A directory of the host with a tmpfs at `below` in it, mounted with `options`, until the bench is left."""
        tree = f"{self.directory}/tree"
        os.makedirs(f"{tree}/below")
        command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=64k", *options)), "tmpfs", f"{tree}/below"]
        subprocess.run(command, check=True, capture_output=True)
        self._mounted.append(f"{tree}/below")
        return tree

    def container(self, changes: Changes, *questions: str) -> Container:
        """A container that is yet to be created; its process asks the questions of the probe."""
        words = {"/process/args": ["/probe", *questions], **changes}
        identifier = f"conformance-{uuid.uuid4().hex[:12]}"
        container = Container(identifier, self.bundle(words), self.command)
        self.containers.append(container)
        return container

    def created(self, changes: Changes, *questions: str) -> Container:
        container = self.container(changes, *questions)
        container.create()
        return container

    def running(self, changes: Changes, *questions: str) -> Container:
        """A started container, which sleeps unless other questions are asked."""
        container = self.created(changes, *(questions or ("sleep:20",)))
        container.start()
        return container

    def look(self, changes: Changes, *questions: str) -> JsonObject:
        """Run a container in the foreground, and return what its probe reports."""
        return self.container(changes, *questions).report()

    def outcome(self, changes: Changes, *questions: str) -> Command:
        """Run a container in the foreground, however that ends."""
        container = self.container(changes, *questions)
        return container.command("run", "--bundle", container.bundle, container.identifier)

    def refused(self, changes: Changes) -> str:
        """`create` must fail and leave no container; returns its error text."""
        container = self.container(changes)
        result = container.command("create", "--bundle", container.bundle, container.identifier)
        expect(result.returncode != 0, "`create` accepted it")
        state = container.command("state", container.identifier)
        expect(state.returncode != 0, f"`create` failed and left a container: {state.stdout}")
        return result.stderr
