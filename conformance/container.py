"""One container, through the runtime's command line."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from conformance.bundle import Changes, JsonObject, changed
from conformance.expect import BrokenError, expect

Command = subprocess.CompletedProcess[str]


class Container:
    """A bundle under an identifier; nothing exists until `create`."""

    def __init__(self, identifier: str, bundle: str, command: Callable[..., Command]) -> None:
        self.identifier, self.bundle, self.command = identifier, bundle, command

    def verb(self, verb: str, *arguments: str, stdin: str = "") -> Command:
        """Run `verb ID ARGUMENTS`, which must succeed."""
        result = self.command(verb, self.identifier, *arguments, stdin=stdin)
        self._expect_success(verb, result)
        return result

    def rewrite(self, changes: Changes) -> None:
        """Change the config.json of the bundle, before `create`."""
        path = f"{self.bundle}/config.json"
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(changed(config, changes), file)

    def create(self, *options: str) -> None:
        result = self.command("create", "--bundle", self.bundle, *options, self.identifier)
        self._expect_success("create", result)

    def start(self) -> None:
        self.verb("start")

    def report(self) -> JsonObject:
        """Run it in the foreground, and return what its probe reports."""
        return report_of(self.command("run", "--bundle", self.bundle, self.identifier), "run")

    def exec(self, *words: str, options: Sequence[str] = ()) -> JsonObject:
        """Run the probe by `exec`, with the questions, and return what it reports."""
        return report_of(self.command("exec", *options, self.identifier, "/probe", *words), "exec")

    def state(self) -> JsonObject:
        result: Any = json.loads(self.verb("state").stdout)
        expect(isinstance(result, dict), f"`state` prints no object: {result!r}")
        return dict(result)

    def status(self) -> str:
        return str(self.state().get("status"))

    def pid(self) -> int:
        return int(self.state()["pid"])

    def wait_for(self, status: str, seconds: float = 5.0) -> None:
        """Wait until `state` says so, because processes end in their own time."""
        end = time.monotonic() + seconds
        while (seen := self.status()) != status:
            if time.monotonic() > end:
                raise BrokenError(
                    f"the status is {seen!r}, and did not become {status!r} in {seconds} seconds"
                )
            time.sleep(0.01)

    def wait_for_file(self, name: str, content: str, seconds: float = 15.0) -> str:
        """Wait until a file of the rootfs has the text in it; returns all that it has."""
        end = time.monotonic() + seconds
        path = f"{self.bundle}/rootfs/{name}"
        while time.monotonic() < end:
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    if content in (text := file.read()):
                        return text
            time.sleep(0.02)
        raise BrokenError(f"/{name} of the container did not come to have {content!r} in it")

    def cgroups(self) -> dict[str, str]:
        """Controller to directory on the host, `""` for cgroup v2, of the container's first process."""
        with open(f"/proc/{self.pid()}/cgroup", encoding="utf-8") as file:
            lines = file.read().splitlines()
        found = {}
        for line in lines:
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                found[controller] = mount_point(controller) + path
        return found

    def _expect_success(self, verb: str, result: Command) -> None:
        if result.returncode != 0:
            said = result.stderr.strip()[-600:]
            raise BrokenError(f"`{verb}` ended with {result.returncode}: {said or 'no message'}")


def mount_point(controller: str) -> str:
    """Where the hierarchy of a controller is mounted on the host; `""` asks for cgroup v2."""
    name = controller.removeprefix("name=")
    if name:
        return f"/sys/fs/cgroup/{name}"
    unified = "/sys/fs/cgroup/unified"
    return unified if os.path.isdir(unified) else "/sys/fs/cgroup"


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
