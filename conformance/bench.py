"""The bench at which one requirement is tried: bundles, containers and what was seen inside of them."""

import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from conformance.bundle import Changes, JsonObject, changed, plain_config, write_bundle
from conformance.container import Container
from conformance.expect import BrokenError, expect

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
        # Below the root of the hierarchies, and of this bench alone.
        self.cgroup = f"/conformance-{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in self.containers:
            container.command("delete", "--force", container.identifier)
        self._place.cleanup()

    def bundle(self, changes: Changes) -> str:
        """A new bundle: the plain config with the changes."""
        directory = tempfile.mkdtemp(prefix="bundle-", dir=self.directory)
        os.chmod(directory, 0o755)
        write_bundle(directory, changed(plain_config(), changes), self.probe)
        return directory

    def command(self, *arguments: str, stdin: str = "", options: Sequence[str] = ()) -> Command:
        """Run one command of the runtime.  Its output goes to files: containers keep what they inherit."""
        with (
            tempfile.TemporaryFile("w+", dir=self.directory) as output,
            tempfile.TemporaryFile("w+", dir=self.directory) as errors,
            tempfile.TemporaryFile("w+", dir=self.directory) as given,
        ):
            given.write(stdin)
            given.seek(0)
            words = [self.runtime, "--root", f"{self.directory}/state", *options, *arguments]
            try:
                finished = subprocess.run(
                    words, stdin=given, stdout=output, stderr=errors, timeout=TIMEOUT, check=False
                )
            except subprocess.TimeoutExpired:
                raise BrokenError(
                    f"`{' '.join(arguments)}` did not end within {TIMEOUT:.0f} seconds"
                ) from None
            output.seek(0)
            errors.seek(0)
            return Command(words, finished.returncode, output.read(), errors.read())

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
        container = self.container(changes, *questions)
        result = container.command("run", "--bundle", container.bundle, container.identifier)
        return report_of(result, "run")

    def refused(self, changes: Changes) -> str:
        """`create` must fail and leave no container; returns its error text."""
        container = self.container(changes)
        result = container.command("create", "--bundle", container.bundle, container.identifier)
        expect(result.returncode != 0, "`create` accepted it")
        state = container.command("state", container.identifier)
        expect(state.returncode != 0, f"`create` failed and left a container: {state.stdout}")
        return result.stderr


def report_of(result: Command, verb: str) -> JsonObject:
    """The probe's report in the output of a command.

    Raises:
        BrokenError: the command failed, or the probe did not get as far as its report.
    """
    try:
        report: Any = json.loads(result.stdout)
    except json.JSONDecodeError:
        report = None
    if result.returncode != 0 or not isinstance(report, dict):
        said = (result.stderr or result.stdout).strip()[-600:]
        raise BrokenError(f"`{verb}` ended with {result.returncode}: {said or 'no output'}")
    return report
